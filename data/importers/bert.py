"""BERT: attention and feed-forward map, each with its Add & Norm (arXiv:1810.04805)."""

from __future__ import annotations

from .config import Config
from .model import Array, Ids, Model, Part, Read, layer_norm, linear, normalised

PREFIXES = ("", "bert.")
MOST_TYPES = 1000


def read(config: Config) -> Model:
    """The model of a configuration of BERT. Raises InvalidInput for what is not reproduced exactly."""
    refuse(config)
    config.only("add_cross_attention", False, "decoders that see an encoder are not read")
    d, hidden = config.whole("hidden_size"), config.whole("intermediate_size")
    heads, layers = config.whole("num_attention_heads"), config.layers("num_hidden_layers")
    config.head_dimension(d, heads, "num_attention_heads")
    epsilon = config.size("layer_norm_eps", 1e-12)
    return Model(
        family="BERT",
        dimension=d,
        layers=layers,
        stack=tuple(_layer(f"encoder.layer.{k}.", d, hidden) for k in range(layers)),
        tables=tables(config, d),
        embed=lambda read, ids, types: embedding(read, ids, types, epsilon),
        vocabulary=config.whole("vocab_size"),
        positions=config.whole("max_position_embeddings", 512),
        types=config.whole("type_vocab_size", 2, MOST_TYPES),
        attention={
            "heads": heads,
            "score": "scaled-dot",
            "mask": "causal" if config.flag("is_decoder") else "none",
        },
        block={"norm": "add-norm", "normaliser": "layer", "epsilon": epsilon},
        feed_forward={"activation": config.activation("hidden_act", "gelu")},
    )


def refuse(config: Config) -> None:
    """Raise InvalidInput for variants of BERT and ALBERT that are other models."""
    config.only("position_embedding_type", "absolute", "relative positions are not read")
    config.only("pruned_heads", {}, "models with pruned heads are not read")


def tables(config: Config, dimension: int) -> dict[str, Part]:
    """The tables of the embedding layer of BERT and ALBERT, and its normalisation."""
    rows = {
        "word": config.whole("vocab_size"),
        "position": config.whole("max_position_embeddings", 512),
        "token_type": config.whole("type_vocab_size", 2, MOST_TYPES),
    }
    named = {table: Part(f"embeddings.{table}_embeddings.weight", (n, dimension)) for table, n in rows.items()}
    return named | layer_norm("embeddings.LayerNorm", dimension)


def embedding(read: Read, ids: Ids, types: Ids, epsilon: float) -> Array:
    """The normalised sum of the rows of words, positions and token types, (tokens, dimension of the tables)."""
    total = read("word", ids) + read("position", slice(len(ids))) + read("token_type", types)
    return normalised(total, read("gain"), read("bias"), epsilon)


def _layer(at: str, d: int, hidden: int) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name in ("query", "key", "value"):
        parts |= linear(f"{at}attention.self.{name}", d, d, name, f"{name}_bias")
    return (
        parts
        | linear(f"{at}attention.output.dense", d, d, "output", "output_bias")
        | layer_norm(f"{at}attention.output.LayerNorm", d)
        | linear(f"{at}intermediate.dense", hidden, d, "inner", "inner_bias")
        | linear(f"{at}output.dense", d, hidden, "outer", "outer_bias")
        | layer_norm(f"{at}output.LayerNorm", d, "norm_gain", "norm_bias")
    )
