"""Checkpoints of transformers as token systems: a text, the model's own layers, and scenarios that run them."""

from .importing import Imported, import_model

__all__ = ["Imported", "import_model"]
