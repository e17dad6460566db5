"""ALBERT: a BERT whose layers share their weights, by groups, on a narrower embedding layer (arXiv:1909.11942)."""

from __future__ import annotations

from ...errors import InvalidInput
from .bert import MOST_TYPES, embedding, refuse, tables
from .config import MOST_LAYERS, Config
from .model import Array, Ids, Model, Part, Read, layer_norm, linear

PREFIXES = ("", "albert.")
MAPPING = "encoder.embedding_hidden_mapping_in"


def read(config: Config) -> Model:
    """The model of a configuration of ALBERT. Raises InvalidInput for what is not reproduced exactly."""
    refuse(config)
    d, hidden, narrow = (config.whole(key) for key in ("hidden_size", "intermediate_size", "embedding_size"))
    heads = config.whole("num_attention_heads")
    config.head_dimension(d, heads, "num_attention_heads")
    epsilon = config.size("layer_norm_eps", 1e-12)
    order = _order(config)
    mapping = linear(MAPPING, d, narrow, "mapping", "mapping_bias")
    return Model(
        family="ALBERT",
        dimension=d,
        layers=len(order),
        stack=tuple(_layer(f"encoder.albert_layer_groups.{group}.albert_layers.{inner}.", d, hidden)
                    for group, inner in _period(order)),
        tables=tables(config, narrow) | mapping,
        embed=lambda read, ids, types: _embedding(read, ids, types, epsilon),
        vocabulary=config.whole("vocab_size"),
        positions=config.whole("max_position_embeddings", 512),
        types=config.whole("type_vocab_size", 2, MOST_TYPES),
        attention={"heads": heads, "score": "scaled-dot", "mask": "none"},
        block={"norm": "add-norm", "normaliser": "layer", "epsilon": epsilon},
        feed_forward={"activation": config.activation("hidden_act", "gelu_new")},
    )  # fmt: skip


def _order(config: Config) -> list[tuple[int, int]]:
    """Group and number in it of each layer, in the order in which they are used."""
    layers = config.layers("num_hidden_layers")
    groups, inner = config.whole("num_hidden_groups", 1, layers), config.whole("inner_group_num", 1, MOST_LAYERS)
    if layers * inner > MOST_LAYERS:
        raise InvalidInput(f"{config.path}: there must be at most {MOST_LAYERS} layers; got {layers * inner}")
    # the division is transformers' own, in floating-point numbers, where the groups do not divide the layers
    return [(int(k / (layers / groups)), each) for k in range(layers) for each in range(inner)]


def _period(order: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The shortest beginning that, again and again in turn, is all of it."""
    lengths = (n for n in range(1, len(order) + 1) if len(order) % n == 0)
    return next(order[:n] for n in lengths if order[:n] * (len(order) // n) == order)


def _embedding(read: Read, ids: Ids, types: Ids, epsilon: float) -> Array:
    return embedding(read, ids, types, epsilon) @ read("mapping").T + read("mapping_bias")


def _layer(at: str, d: int, hidden: int) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name in ("query", "key", "value"):
        parts |= linear(f"{at}attention.{name}", d, d, name, f"{name}_bias")
    return (
        parts
        | linear(f"{at}attention.dense", d, d, "output", "output_bias")
        | layer_norm(f"{at}attention.LayerNorm", d)
        | linear(f"{at}ffn", hidden, d, "inner", "inner_bias")
        | linear(f"{at}ffn_output", d, hidden, "outer", "outer_bias")
        | layer_norm(f"{at}full_layer_layer_norm", d, "norm_gain", "norm_bias")
    )
