"""The scenario files that are written beside the arrays of a model: what each is for, and its keys with comments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..token_strings import BLANKS
from .arrays import FILE, readout_name
from .model import Model
from .replacing import Replaced
from .tokenising import Tokenised

OBSERVABLES = ["clusters", "mean_cosine", "attention_entropy", "effective_rank"]
DEEPER = 10  # times the depth of the model, where a scenario goes on beyond it
FINE = 16  # steps of a layer, where it is divided
THINNER = [2**k for k in range(7)]  # the same, where steps go to 0
TOLERANCE = 1e-8  # of the flow that they are compared with: errors of these steps are far larger
ONE_WORD = "one-word.toml"
ATTENTION = ("query", "key", "value", "output", "query_bias", "key_bias", "value_bias", "output_bias")
NORMALISER = ("gain", "bias")
FORMULAS = {"add-norm": "n(x + B(x))", "pre": "x + B(n(x))"}

# what a file is for, and what one sees
THE_MODEL = """
The model itself: {n} layers of step 1, one frame after each, the first after the embedding layer. Frame k is the
model's own hidden state after layer k, within rounding."""
READOUT = """
What the model does to its tokens after the last layer is in [readout]; it moves no token."""
SHARED = """
One layer's weights shared at every depth, as ALBERT does, {times} times as deep as the model. Another layer:
--set depth.layer=K, K from 0 to {last}. Thinner layers to the same depth: depth.step = 0.5 and twice the layers. One
sees whether this layer alone gathers the tokens, into how many clusters, and how fast."""
CYCLED = """
A looped network: after the last layer the first one again, {times} times around. One sees whether what the first turn
does to the tokens goes on, or whether they come to move in a circle."""
INTERPOLATED = """
A network of the model's depth with {fine} thin layers for each of its own, and weights interpolated between one layer
and the next. One sees how far the model is from a flow whose weights change slowly: were it one, this would end near
where the model ends. Finer: depth.layers and 1 / depth.step times 4."""
FLOW = """
The limit of infinitely many, infinitely thin layers: an ordinary differential equation, with the weights of layer k
from depth k to k + 1. One sees what of the model comes from its steps being long: attndyn compare, with the trajectory
of scenario.toml."""
DEPTH_LIMIT = """
attndyn limit depth-limit.toml: each layer divided into {steps} thinner ones with its weights, to the model's
depth. L = {n} is the model itself, of step 1; the limit is the flow of flow.toml. One sees how far the model is from
it, and that the distance falls like the step, once steps are short. One layer at every depth: --set
depth.weights=shared --set depth.layer=K. Weights interpolated between layers: attndyn limit depth interpolated.toml
--set limit.tolerance={tolerance:g}, with limit.layers as here."""
FIXED_POINT = """
attndyn limit fixed-point.toml: one layer iterated until nothing moves, by itself (Picard) and by Anderson acceleration,
from this text and from a random start."""
TWO_STARTS = """
One sees whether the residual falls, and whether the two starts come to the same end. Layers of one model differ: some
come to rest, others never do; another one is --set depth.layer=K, K from 0 to {last}."""
NO_FIXED_POINT = """
A layer of this norm adds to its tokens and need not have a fixed point: one sees whether the residual falls at all."""
CHANGED = """
attndyn limit one-word.toml: the text once more with {word} in the place of {token}, at the same position. One sees by
how much every token is off, over depth: whether the change of one word dies out, stays with it or takes hold of the
others."""
GROWING = """
Tokens of this norm grow as they go: their directions, mean_cosine, tell more than their distances."""


@dataclass(frozen=True)
class Told:
    """What scenario files say of a model besides its law.

    name, text, checksum : of the model, the beginning of the text, of the tensors
    dtype                : in which the runs are
    length               : of a token, after the embedding layer or, with add-norm, after a layer
    """

    name: str
    text: str
    checksum: str
    dtype: str
    length: float


@dataclass(frozen=True)
class Way:
    """A way through the layers: its title, what it is and what one sees, and the sections [depth], [limit], [save]."""

    title: str
    comment: str
    depth: Mapping[str, Any]
    save: Mapping[str, Any] = field(default_factory=dict)
    limit: Mapping[str, Any] | None = None


def ways(model: Model) -> dict[str, Way]:
    """The scenarios that are written, by the names of their files."""
    n, middle, nodes = model.layers, len(model.stack) // 2, [float(k) for k in range(model.layers)]
    adds, last = model.block["norm"] == "add-norm", len(model.stack) - 1
    one = {"weights": "shared", "layer": middle, "layers": DEEPER * n, "step": 1.0}
    between = {"kind": "interpolated", "depths": nodes}
    turns = {"kind": "piecewise", "depths": nodes}
    return {
        "scenario.toml": Way(
            f"its {n} layers",
            THE_MODEL.format(n=n) + (READOUT if model.readout else ""),
            {"weights": "independent", "layers": n, "step": 1.0},
        ),
        "shared.toml": Way(
            f"its layer {middle} at every depth",
            SHARED.format(times=DEEPER, last=last) + ("" if adds else GROWING),
            one,
        ),
        "cycled.toml": Way(
            "its layers in turn, again and again",
            CYCLED.format(times=DEEPER) + ("" if adds else GROWING),
            {"weights": "independent", "layers": DEEPER * n, "step": 1.0},
        ),
        "interpolated.toml": Way(
            "weights interpolated between its layers",
            INTERPOLATED.format(fine=FINE),
            {"weights": "schedule", "schedule": between, "layers": FINE * n, "step": 1.0 / FINE},
            {"every": 0.25},
        ),
        "flow.toml": Way(
            "the flow of its layers",
            FLOW,
            {"weights": "schedule", "schedule": turns, "time": float(n), "rtol": 1e-6, "atol": 1e-6},
            {"every": 0.125},
        ),
        "depth-limit.toml": Way(
            "its layers, thinner and thinner",
            DEPTH_LIMIT.format(steps=", ".join(map(str, THINNER)), n=n, tolerance=TOLERANCE),
            {"weights": "independent", "layers": n, "step": 1.0},
            limit={"kind": "depth", "layers": [n * times for times in THINNER], "tolerance": TOLERANCE},
        ),
        "fixed-point.toml": Way(
            f"its layer {middle} without end",
            FIXED_POINT + (TWO_STARTS.format(last=last) if adds else NO_FIXED_POINT),
            one,
            limit={
                "kind": "fixed-point",
                "methods": ["picard", "anderson"],
                "starts": 2,
                "most": 500,
                "tolerance": 1e-8,
            },
        ),
    }


def one_word(model: Model, tokens: Tokenised, words: Replaced) -> dict[str, Way]:
    """The study of one changed word, by the name of its file."""
    token, others = tokens.strings[words.place].strip(BLANKS), [text.strip(BLANKS) for text in words.strings]
    way = Way(
        f"{token} replaced",
        CHANGED.format(token=token, word=" or ".join(others)),
        {"weights": "independent", "layers": model.layers, "step": 1.0},
        limit={
            "kind": "perturbation",
            "change": "swap",
            "token": words.place,
            "by": words.strings,
            "rows": _array("words"),
            "row_strings": _array("word_tokens"),
        },
    )
    return {ONE_WORD: way}


def scenario(model: Model, told: Told, way: Way) -> str:
    """The text of a scenario file."""
    lines = [
        f"title = {_literal(f'{told.name}, {way.title}: {told.text}')}",
        f"source = {_literal(f'{model.family} checkpoint {told.name} (sha256 of its tensors {told.checksum})')}",
        "",
        *_comment(way.comment),
    ]
    for name, keys in _sections(model, told, way):
        lines += ["", f"[{name}]", *(f"{key} = {_literal(value)}" + note for key, (value, note) in keys.items())]
    return "\n".join(lines) + "\n"


Keys = dict[str, tuple[Any, str]]  # the value of a key, and the comment behind it


def _sections(model: Model, told: Told, way: Way) -> Iterator[tuple[str, Keys]]:
    parts = model.stack[0]
    count = len(model.stack)
    yield "tokens", {
        "initial": ({"law": "file", **_array("positions")}, "  # the output of the embedding layer"),
        "strings": (_array("tokens"), ""),
        "dtype": (told.dtype, "  # float32 is about twice as fast"),
    }  # fmt: skip
    yield "space", {"kind": ("euclidean", "")}
    plain = {
        key: _array("rotary") if isinstance(value, np.ndarray) else value for key, value in model.attention.items()
    }
    notes = {
        "score": "  # <q, k> / sqrt(head dimension)" if plain["score"] == "scaled-dot" else "",
        "rotary": "  # the order of components within a head is that of attndyn, pairs side by side",
        "query": f"  # a stack: one for each of {count} layers, as all arrays below",
    }
    yield "attention", _noted(plain | {key: _array(key) for key in ATTENTION if key in parts}, notes)
    norm = "  # for attention and feed-forward map B in turn, x <- " + FORMULAS[model.block["norm"]]
    block = dict(model.block) | {key: _array(key) for key in NORMALISER if key in parts}
    yield "block", _noted(block, {"norm": norm, "gain": "  # of the normalisation that belongs to the attention"})
    feed = {key: _array(key) for key in parts if key not in (*ATTENTION, *NORMALISER)}
    yield (
        "block.feed_forward",
        _noted(
            dict(model.feed_forward) | feed,
            {"norm_gain": "  # of the normalisation that belongs to the feed-forward map"},
        ),
    )
    if model.readout:
        closing = {key: _array(readout_name(key)) for key in model.closing}
        yield (
            "readout",
            _noted(
                dict(model.readout) | closing,
                {"normaliser": "  # the last normalisation, for Trajectory.readout(frame)"},
            ),
        )
    yield "depth", _noted(way.depth, {})
    if way.limit is not None:
        yield "limit", _noted(way.limit, {})
    distance = float(f"{0.25 * told.length:.3g}")
    yield (
        "save",
        _noted(
            dict(way.save) | {"observables": OBSERVABLES, "cluster_distance": distance},
            {"cluster_distance": f"  # a quarter of a token's length, about {told.length:.3g}"},
        ),
    )


def _noted(values: Mapping[str, Any], notes: Mapping[str, str]) -> Keys:
    return {key: (value, notes.get(key, "")) for key, value in values.items()}


def _array(name: str) -> dict[str, str]:
    return {"file": FILE, "array": name}


def _comment(text: str, width: int = 118) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _literal(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_literal(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # JSON's escapes are TOML's, except that TOML wants the delete character escaped as well
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
