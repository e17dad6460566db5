"""A flipped byte is noticed by `attndyn info --verify`, wherever it is in what was stored."""

import random

import attndyn
import h5py
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data import layout
from attndyn.data.verifying import verified


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("verified") / "run.h5"
    attndyn.run(attndyn.load("sphere-clusters").override({"depth.time": 20.0, "tokens.count": 20}), out=path).close()
    return path


def stored_bytes(path, name):
    """(offset, length) of the chunks of a dataset."""
    with h5py.File(path) as file:
        found = file[name].id
        chunks = [found.get_chunk_info(k) for k in range(found.get_num_chunks())]
        return [(chunk.byte_offset, chunk.size) for chunk in chunks]


@pytest.mark.parametrize(
    "name", [layout.POSITION, layout.TIME, layout.STEP, layout.observable("energy"), layout.SCENARIO, layout.OUTCOME]
)
def test_a_flipped_byte_in_what_is_stored_is_noticed(whole, tmp_path, name):
    generator, raw = random.Random(0), whole.read_bytes()
    assert verified(whole) == []
    for _ in range(20):
        offset, length = generator.choice(stored_bytes(whole, name))
        damaged = bytearray(raw)
        damaged[offset + generator.randrange(length)] ^= 1 << generator.randrange(8)
        (tmp_path / "damaged.h5").write_bytes(damaged)
        (found,) = verified(tmp_path / "damaged.h5")
        assert found.startswith(f"{name}: ")


def test_whatever_bit_is_flipped_it_is_noticed_or_harmless(whole, tmp_path):
    generator, raw = random.Random(1), whole.read_bytes()
    with attndyn.open(whole) as run:
        right = run.positions[:], run.times, run.scenario_text, run.observables["energy"]
    noticed = 0
    for _ in range(100):
        damaged = bytearray(raw)
        damaged[generator.randrange(len(raw))] ^= 1 << generator.randrange(8)
        (tmp_path / "damaged.h5").write_bytes(damaged)
        try:
            found = verified(tmp_path / "damaged.h5")
        except attndyn.AttndynError:
            found = ["it does not open"]
        if found:
            noticed += 1
            continue
        with attndyn.open(tmp_path / "damaged.h5") as run:
            for one, other in zip((run.positions[:], run.times, run.scenario_text, run.observables["energy"]), right,
                                  strict=True):  # fmt: skip
                np.testing.assert_array_equal(one, other)
    assert noticed > 20


def test_the_command_says_so(whole, tmp_path, capsys):
    assert main(["info", str(whole), "--verify"]) == 0
    assert "all checksums hold" in capsys.readouterr().out
    offset, _ = stored_bytes(whole, layout.POSITION)[0]
    damaged = bytearray(whole.read_bytes())
    damaged[offset + 5] ^= 1
    (tmp_path / "damaged.h5").write_bytes(damaged)
    assert main(["info", str(tmp_path / "damaged.h5"), "--verify"]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "is damaged: particles/trajectory/position/value" in printed
