"""GPT-2: each part sees normalised tokens, masked causally; positions come from a table; a last normalisation."""

from __future__ import annotations

from functools import partial

import numpy as np

from .config import Config
from .model import Array, Ids, Model, Part, Read, layer_norm

PREFIXES = ("", "transformer.")


def read(config: Config) -> Model:
    """The model of a configuration of GPT-2. Raises InvalidInput for what is not reproduced exactly."""
    config.only("scale_attn_by_inverse_layer_idx", False, "scores that depend on the layer's number are not read")
    config.only("add_cross_attention", False, "decoders that see an encoder are not read")
    config.only("pruned_heads", {}, "models with pruned heads are not read")
    d, heads, layers = config.whole("n_embd"), config.whole("n_head"), config.layers("n_layer")
    config.head_dimension(d, heads, "n_head")
    hidden = config.whole("n_inner", 4 * d)
    vocabulary, positions = config.whole("vocab_size"), config.whole("n_positions", 1024)
    epsilon = config.size("layer_norm_epsilon", 1e-5)
    return Model(
        family="GPT-2",
        dimension=d,
        layers=layers,
        stack=tuple(_layer(f"h.{k}.", d, hidden) for k in range(layers)),
        tables={"word": Part("wte.weight", (vocabulary, d)), "position": Part("wpe.weight", (positions, d))},
        embed=_embedding,
        vocabulary=vocabulary,
        positions=positions,
        types=None,
        attention={
            "heads": heads,
            "score": "scaled-dot" if config.flag("scale_attn_weights", True) else "dot",
            "mask": "causal",
        },
        block={"norm": "pre", "normaliser": "layer", "epsilon": epsilon},
        feed_forward={"activation": config.activation("activation_function", "gelu_new")},
        readout={"normaliser": "layer", "epsilon": epsilon},
        closing=layer_norm("ln_f", d),
    )


def _embedding(read: Read, ids: Ids, types: Ids) -> Array:
    return read("word", ids) + read("position", slice(len(ids)))


def _layer(at: str, d: int, hidden: int) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for third, name in enumerate(("query", "key", "value")):  # side by side in one tensor
        own = partial(_columns, first=third * d, past=(third + 1) * d)
        parts[name] = Part(f"{at}attn.c_attn.weight", (d, 3 * d), own)
        parts[f"{name}_bias"] = Part(f"{at}attn.c_attn.bias", (3 * d,), own)
    return (
        parts
        | _conv1d(f"{at}attn.c_proj", d, d, "output")
        | layer_norm(f"{at}ln_1", d)
        | _conv1d(f"{at}mlp.c_fc", hidden, d, "inner")
        | _conv1d(f"{at}mlp.c_proj", d, hidden, "outer")
        | layer_norm(f"{at}ln_2", d, "norm_gain", "norm_bias")
    )


def _columns(x: Array, first: int, past: int) -> Array:
    """Some columns as rows, or some numbers of a bias."""
    return x[..., first:past].T


def _conv1d(tensor: str, rows: int, columns: int, key: str) -> dict[str, Part]:
    """The parts of a map y = x W + b, as GPT-2 keeps it: transposed."""
    return {
        key: Part(f"{tensor}.weight", (columns, rows), np.transpose),
        f"{key}_bias": Part(f"{tensor}.bias", (rows,)),
    }
