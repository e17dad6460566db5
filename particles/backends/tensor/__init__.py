"""The torch backend: laws on tensors, on this processor or a GPU, differentiable."""
