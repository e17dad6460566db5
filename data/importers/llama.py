"""Llama: RMS normalisation, rotary positions, grouped keys and values, a gated feed-forward map (arXiv:2302.13971)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .config import Config, as_size
from .model import Array, Ids, Model, Part, Read, linear

PREFIXES = ("", "model.")
MOST_HEAD = 1 << 16


def read(config: Config) -> Model:
    """The model of a configuration of Llama. Raises InvalidInput for what is not reproduced exactly."""
    d, hidden = config.whole("hidden_size"), config.whole("intermediate_size")
    heads, layers = config.whole("num_attention_heads"), config.layers("num_hidden_layers")
    groups = config.whole("num_key_value_heads", heads)
    if heads % groups:
        raise config.wrong("num_key_value_heads", f"a divisor of the {heads} heads")
    of_head = config.whole("head_dim", config.head_dimension(d, heads, "num_attention_heads"), MOST_HEAD)
    if of_head % 2:
        raise config.wrong("head_dim", "even, for rotary positions")
    epsilon = config.size("rms_norm_eps", 1e-6)
    biased, biased_feed = config.flag("attention_bias"), config.flag("mlp_bias")
    attention: dict[str, Any] = {"heads": heads, "score": "scaled-dot", "mask": "causal"}
    if heads * of_head != d:
        attention["head_dimension"] = of_head
    return Model(
        family="Llama",
        dimension=d,
        layers=layers,
        stack=tuple(
            _attention(f"layers.{k}.", d, heads, groups, of_head, biased)
            | _feed_forward(f"layers.{k}.", d, hidden, biased_feed)
            for k in range(layers)
        ),
        tables={"word": Part("embed_tokens.weight", (config.whole("vocab_size"), d))},
        embed=_embedding,
        vocabulary=config.whole("vocab_size"),
        positions=None,
        types=None,
        attention=attention | {"rotary": _rotary(config, of_head)},
        block={"norm": "pre", "normaliser": "rms", "epsilon": epsilon},
        feed_forward={"activation": config.activation("hidden_act", "silu")},
        readout={"normaliser": "rms", "epsilon": epsilon},
        closing={"gain": Part("norm.weight", (d,))},
    )


def _embedding(read: Read, ids: Ids, types: Ids) -> Array:
    return read("word", ids)


def _attention(at: str, d: int, heads: int, groups: int, of_head: int, biased: bool) -> dict[str, Part]:
    counts = {"query": heads, "key": groups, "value": groups, "output": heads}
    turns = {
        "query": _heads(of_head, 1, in_pairs=True),
        "key": _heads(of_head, heads // groups, in_pairs=True),
        "value": _heads(of_head, heads // groups, in_pairs=False),
        "output": None,
    }
    parts = {"gain": Part(f"{at}input_layernorm.weight", (d,))}
    for name, count in counts.items():
        rows = count * of_head
        shape, bias = ((d, rows), d) if name == "output" else ((rows, d), rows)
        parts[name] = Part(f"{at}self_attn.{name[0]}_proj.weight", shape, turns[name])
        if biased:
            parts[f"{name}_bias"] = Part(f"{at}self_attn.{name[0]}_proj.bias", (bias,), turns[name])
    return parts


def _heads(of_head: int, repeated: int, in_pairs: bool) -> Callable[[Array], Array]:
    """Every head so many times and, in pairs, its rows c and c + of_head/2 as rows 2c and 2c + 1.

    Rotary positions turn the components c and c + of_head/2 of a head by one angle, those of a scenario 2c and 2c + 1;
    scores do not see the order.
    """

    def turn(rows: Array) -> Array:
        split = rows.reshape(-1, of_head, *rows.shape[1:])
        if in_pairs:
            split = split[:, np.arange(of_head).reshape(2, -1).T.ravel()]
        return np.repeat(split, repeated, axis=0).reshape(-1, *rows.shape[1:])

    return turn


def _feed_forward(at: str, d: int, hidden: int, biased: bool) -> dict[str, Part]:
    return (
        linear(f"{at}mlp.gate_proj", hidden, d, "gate", "gate_bias" if biased else None)
        | linear(f"{at}mlp.up_proj", hidden, d, "inner", "inner_bias" if biased else None)
        | linear(f"{at}mlp.down_proj", d, hidden, "outer", "outer_bias" if biased else None)
        | {"norm_gain": Part(f"{at}post_attention_layernorm.weight", (d,))}
    )


def _rotary(config: Config, of_head: int) -> float | Array:
    """The base of the angles or, where they are scaled, the angle of each pair of components from token to token."""
    key = "rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling"
    table = config.get(key, {})
    if not isinstance(table, dict):
        raise config.wrong(key, "a table")

    def number(name: str, default: Any = None) -> float:
        return as_size(config, key, table.get(name, default))

    # the base has a key of its own in checkpoints older than transformers 5
    base = number("rope_theta") if "rope_theta" in table else config.size("rope_theta", 10000.0)
    kind = table.get("rope_type", table.get("type", "default"))
    if kind not in ("default", "linear", "llama3") or table.get("partial_rotary_factor", 1.0) != 1.0:
        raise config.wrong(key, "of the type default, linear or llama3, and for all components of a head")
    if kind == "default":
        return base
    angles = base ** (-np.arange(0, of_head, 2) / of_head)
    if kind == "linear":
        return angles / number("factor")
    low, high = number("low_freq_factor"), number("high_freq_factor")
    if low >= high:
        raise config.wrong(key, "a table whose low_freq_factor is below its high_freq_factor")
    # what turns fast over the length of the first training is kept, what turns slowly divided by the factor
    length = number("original_max_position_embeddings", config.get("max_position_embeddings", 2048))
    kept = np.clip((length * angles / (2.0 * np.pi) - low) / (high - low), 0.0, 1.0)
    return (1.0 - kept) * angles / number("factor") + kept * angles
