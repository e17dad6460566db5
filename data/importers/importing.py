"""import_model: a checkpoint and a text to a folder of scenarios that go through the model's own layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import InvalidInput
from .arrays import FILE, write_arrays
from .checkpoint import folder_of
from .config import read_config
from .families import family_of
from .folder import check_out, whole_folder
from .model import Array, Ids, Model
from .replacing import Replaced, replaced
from .tensors import Tensors, open_tensors
from .tokenising import Tokenised, numbered, tokenised
from .wording import ONE_WORD, Told, one_word, scenario, ways

DTYPES = ("float64", "float32")
TITLE = 48  # letters of the text in a title
SCENARIOS = (
    "scenario.toml", "shared.toml", "cycled.toml", "interpolated.toml",
    "flow.toml", "depth-limit.toml", "fixed-point.toml",
)  # fmt: skip
WRITTEN = {FILE, *SCENARIOS, ONE_WORD}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Imported:
    """What was imported.

    folder     : holds model.npz and the scenarios
    scenario   : the scenario of the model itself, for `attndyn.run`
    family     : BERT, ALBERT, GPT-2 or Llama
    layers, heads, dimension, tokens : of the model and the text; size : bytes of model.npz
    """

    folder: Path
    scenario: Path
    family: str
    layers: int
    heads: int
    dimension: int
    tokens: int
    size: int


def import_model(
    name: str | Path,
    text: str | None = None,
    *,
    ids: Sequence[int] | None = None,
    token: str | None = None,
    by: Sequence[str] = (),
    out: str | Path | None = None,
    dtype: str = "float64",
    overwrite: bool = False,
    say: Say | None = None,
) -> Imported:
    """Write a transformer and a text as scenarios: its token ensemble, and every layer's block.

    name      : a folder with config.json and safetensors of BERT, ALBERT, GPT-2 or Llama, or a name on the Hugging
                Face hub
    text      : divided into tokens by the model's own tokenizer; or
    ids       : the tokens by their numbers
    token, by : of a study of one changed word, one-word.toml: a token of the text, and single tokens of the vocabulary
                that take its place, one after the other
    out       : the folder to write, whole or not at all; by default the model's name, here
    dtype     : of the runs, "float64" or "float32"; the arrays keep the checkpoint's precision
    overwrite : whether a folder that an import wrote is replaced
    say       : called with a line for each thing done

    With `layers` and step 1 the run of scenario.toml is the model's own forward pass: frame 0 the output of the
    embedding layer, frame k the hidden state after layer k. Raises InvalidInput for a checkpoint that is broken, of
    another family, or has what is not reproduced exactly, and for a text that does not fit it; AttndynError where the
    hub does not give it; MissingExtra without the tokenizer's library.
    """
    if (text is None) == (ids is None):
        raise InvalidInput("give either a text or ids, and not both")
    if (token is None) != (not by):
        raise InvalidInput("token and by belong together: a token of the text, and what takes its place")
    if isinstance(by, str):
        raise InvalidInput(f"by must be a list of words; got {by!r}")
    if dtype not in DTYPES:
        raise InvalidInput(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    folder, called = folder_of(name, lambda place: family_of(read_config(place)))
    target = Path(called if out is None else out)
    check_out(target, folder, overwrite, WRITTEN)
    say = say or (lambda line: None)
    config = read_config(folder)
    family = family_of(config)
    model = family.read(config)
    tensors = open_tensors(folder).below(family.prefixes, (part.tensor for part in model.parts()))
    tensors.check((part.tensor, part.shape) for part in model.parts())
    if text is None:
        assert ids is not None
        tokens = numbered(folder, ids)
        text = "".join(tokens.strings)
    else:
        tokens = tokenised(folder, text)
    _check_tokens(model, tokens)
    positions = _embedded(model, tensors, tokens.ids, tokens.types)
    words = None if token is None else _placed(model, tensors, tokens, replaced(folder, tokens, token, by))
    checksum = tensors.checksum()
    say(f"read {model.family} {called}: {len(tensors.files)} file(s) of {tensors.size / 1e6:.1f} MB, sha256 {checksum}")
    told = Told(called, _beginning(text), checksum[:12], dtype, _length(model, tensors, positions))
    with whole_folder(target) as new:
        write_arrays(new / FILE, model, tensors, tokens, positions, words)
        for file, way in (ways(model) | ({} if words is None else one_word(model, tokens, words))).items():
            (new / file).write_text(scenario(model, told, way), encoding="utf-8")
        size = (new / FILE).stat().st_size
    return Imported(
        folder=target,
        scenario=target / SCENARIOS[0],
        family=model.family,
        layers=model.layers,
        heads=model.attention["heads"],
        dimension=model.dimension,
        tokens=len(tokens.ids),
        size=size,
    )


def _check_tokens(model: Model, tokens: Tokenised) -> None:
    """Raise InvalidInput unless the model has a place, and a row, for every token."""
    count = len(tokens.ids)
    if model.positions is not None and count > model.positions:
        raise InvalidInput(f"the text has {count} tokens; the model's table of positions has {model.positions}")
    for what, numbers, most in (("id", tokens.ids, model.vocabulary), ("token type", tokens.types, model.types)):
        if most is not None and numbers.max() >= most:
            place = int(numbers.argmax())
            raise InvalidInput(
                f"token {place} has the {what} {numbers[place]}; the model has those from 0 to {most - 1}"
            )


def _placed(model: Model, tensors: Tensors, tokens: Tokenised, words: Replaced) -> Replaced:
    """What takes a token's place, with the output of the embedding layer there."""
    for number in words.ids:
        if number >= model.vocabulary:
            raise InvalidInput(f"by: token number {number} is beyond the vocabulary of {model.vocabulary}")
    rows = [_embedded(model, tensors, ids, tokens.types)[words.place] for ids in words.texts(tokens.ids)]
    return replace(words, embeddings=np.array(rows))


def _embedded(model: Model, tensors: Tensors, ids: Ids, types: Ids) -> Array:
    """The output of the embedding layer in float64, (tokens, dimension)."""

    def read(table: str, rows: Ids | slice | None = None) -> Array:
        return model.tables[table].read(tensors, rows).astype(np.float64)

    return np.ascontiguousarray(model.embed(read, ids, types))


def _length(model: Model, tensors: Tensors, positions: Array) -> float:
    """A typical length of tokens: after Add & Norm that of gain and bias, else what the embedding layer gives."""
    if model.block["norm"] != "add-norm":
        return float(np.sqrt((positions**2).sum(axis=-1).mean()))
    squares = [
        sum(float((layer[key].read(tensors).astype(np.float64) ** 2).sum()) for key in ("norm_gain", "norm_bias"))
        for layer in model.stack
    ]
    return float(np.sqrt(np.median(squares)))


def _beginning(text: str) -> str:
    """The first words of a text, for a title."""
    plain = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return plain if len(plain) <= TITLE else plain[:TITLE].rsplit(" ", 1)[0] + " ..."
