"""What a token system is at one instant: ensembles, spaces, attention laws, observables."""

from .attention import Attention
from .ensemble import Ensemble
from .space import Euclidean, Space, Sphere

__all__ = ["Attention", "Ensemble", "Euclidean", "Space", "Sphere"]
