"""Write the pages of docs/ that are made from the code: command line, scenario keys, reference, the gallery's text.

    python docs/generate.py            # writes them
    python docs/generate.py --check    # says which are out of date, and exits with 1 if any is

The pictures of the gallery are made by docs/gallery.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
from press import commands, exhibits, keys, reference  # noqa: E402


def pages() -> dict[Path, str]:
    """The text of every page, by its path."""
    made = {"cli.md": commands.page(), "scenarios.md": keys.page(), "gallery.md": exhibits.page()}
    made |= {f"reference/{name}": text for name, text in reference.pages().items()}
    return {DOCS / name: _tidy(text) for name, text in made.items()}


def stale() -> list[str]:
    """What is out of date: pages that are missing or differ, and reference pages that nothing makes."""
    made = pages()
    wrong = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    wrong.extend(path for path in (DOCS / "reference").glob("*.md") if path not in made)
    return sorted(str(path.relative_to(DOCS)) for path in wrong)


def write() -> None:
    """Write every page, and remove reference pages that nothing makes."""
    made = pages()
    (DOCS / "reference").mkdir(exist_ok=True)
    for path in (DOCS / "reference").glob("*.md"):
        if path not in made:
            path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


def _tidy(text: str) -> str:
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip("\n") + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    if not parser.parse_args(arguments).check:
        write()
        return 0
    wrong = stale()
    if wrong:
        print(f"out of date: {', '.join(wrong)}; python docs/generate.py writes them", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
