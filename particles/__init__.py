"""What a token system is at one instant: ensembles, spaces, attention laws, blocks, observables."""

from .attention import Attention
from .block import Block
from .circle_density import CircleDensity
from .ensemble import Ensemble
from .feed_forward import FeedForward
from .focus import Focus
from .gaussian import GaussianMeasure
from .normalisers import LayerNorm, RMSNorm, SphereNorm
from .schedule import Schedule
from .space import Euclidean, Space, Sphere
from .weighting import WeightSchedule

__all__ = [
    "Attention",
    "Block",
    "CircleDensity",
    "Ensemble",
    "Euclidean",
    "FeedForward",
    "Focus",
    "GaussianMeasure",
    "LayerNorm",
    "RMSNorm",
    "Schedule",
    "Space",
    "Sphere",
    "SphereNorm",
    "WeightSchedule",
]
