"""Wrong files and scenarios give a result or a sentence: no other exception, no crash, no hang, no flood of memory."""

import os

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits the memory of processes as POSIX does")

SHORT = {"files": 150, "scenarios": 300}
LONG = {"files": 10_000, "scenarios": 10_000, "pictures": 100}
MOST_MEMORY = 600 * 2**20  # bytes that a case may add to what a process has taken


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The folder of the good files."""
    from fuzzing import make_bases

    folder = tmp_path_factory.mktemp("bases")
    make_bases(folder)
    return folder


def check(kind, count, folder):
    """Run so many cases, and tell of each that went wrong how it is done again."""
    from fuzzing import campaign

    found = campaign(kind, range(count), folder)
    for row in found.rows:
        if row["more"] > MOST_MEMORY:
            found.failed[row["done"]] = f"{row['how']}: took {row['more'] / 2**20:.0f} MiB"
    wrong = [
        f"{kind} {seed}: python tests/fuzzing.py {kind} {seed}\n{why}" for seed, why in sorted(found.failed.items())
    ]
    assert not wrong, f"{len(wrong)} of {count}\n\n" + "\n\n".join(wrong[:5])
    assert len(found.rows) == count
    opened = sum(row["opened"] for row in found.rows)
    assert 0.05 * count < opened < 0.95 * count  # both are met: what is wrong, and what does not matter
    report(kind, found.rows, opened)


def report(kind, rows, opened):
    """The figures of docs/keeping.md, for who asks with -s."""
    slowest, most = max(row["seconds"] for row in rows), max(row["more"] for row in rows) / 2**20
    refused = sum(bool(row["refused"]) for row in rows)
    print(f"\n{kind}: {len(rows)}, {opened} opened, {refused} with refusals, {slowest:.1f} s, {most:.0f} MiB at most")


@pytest.mark.parametrize("kind", SHORT)
def test_what_is_wrong_is_refused_in_a_sentence(bases, kind):
    check(kind, SHORT[kind], bases)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", LONG)
def test_what_is_wrong_is_refused_in_a_sentence_in_the_long_run(bases, kind):
    check(kind, LONG[kind], bases)
