"""The torch backend: laws on tensors, on this processor or a GPU, differentiable.

`rows` computes the attention of some queries over some keys, a result that can be merged with that over other keys;
`bounded` and `blocks` or, on a GPU, `fused` are how; `differentiable` gives it derivatives; `field` is the law.
"""
