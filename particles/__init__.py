"""What a token system is at one instant: ensembles, spaces, attention laws, blocks, observables."""

from .attention import Attention
from .block import Block
from .ensemble import Ensemble
from .feed_forward import FeedForward
from .normalisers import LayerNorm, RMSNorm, SphereNorm
from .schedule import Schedule
from .space import Euclidean, Space, Sphere

__all__ = [
    "Attention",
    "Block",
    "Ensemble",
    "Euclidean",
    "FeedForward",
    "LayerNorm",
    "RMSNorm",
    "Schedule",
    "Space",
    "Sphere",
    "SphereNorm",
]
