"""For the site: files outside docs/ that a page links to, as pages of the site, and the links to them.

A Markdown file becomes a page; another text, such as a scenario, becomes a page that shows it. In the repository the
links lead to the files themselves. And < is less-than: no page has HTML, and the inner product <x, y> is none.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
SHELF = "source/"  # where in the site files of outside stand
_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_LESS = re.compile(r"(`+)(?:.*?)\1|<(?!https?:)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the files outside docs/ that pages link to, and those that these link to."""
    waiting = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    while waiting:
        uri, text = waiting.pop()
        for target in _targets(uri, text):
            added = _uri_of(target)
            if target.startswith("docs/") or files.get_file_from_path(added) or not (ROOT / target).is_file():
                continue
            content = (ROOT / target).read_text(encoding="utf-8")
            shown = content if target.endswith(".md") else _as_page(target, content)
            files.append(File.generated(config, added, content=shown, inclusion=InclusionLevel.NOT_IN_NAV))
            if target.endswith(".md"):
                waiting.append((added, content))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Lead links to files outside docs/ to their pages, and links of such files back into docs/."""

    def led(found: re.Match[str]) -> str:
        target = _uri_of(_path_of(page.file.src_uri, found["target"]))
        if not files.get_file_from_path(target):
            return found[0]  # a broken link, which the build then complains of
        way = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{found['before']}{way}{found['anchor'] or ''}{found['after']}"

    return _outside_code(markdown, lambda line: _LESS.sub(_as_text, _LINK.sub(led, line)))


def _as_text(found: re.Match[str]) -> str:
    return "&lt;" if found[0] == "<" else found[0]


def _targets(uri: str, text: str) -> Iterator[str]:
    """The paths, from the root of the repository, to which a page links."""
    found: list[str] = []
    _outside_code(text, lambda line: found.extend(match["target"] for match in _LINK.finditer(line)) or line)
    yield from (_path_of(uri, target) for target in found)


def _path_of(uri: str, target: str) -> str:
    """The path from the root of the repository to which `target` leads on the page `uri`."""
    home = uri.removeprefix(SHELF) if uri.startswith(SHELF) else f"docs/{uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), target))


def _uri_of(path: str) -> str:
    """Where a file of the repository stands in the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{SHELF}{path}" if path.endswith(".md") else f"{SHELF}{path}.md"


def _as_page(path: str, text: str) -> str:
    language = Path(path).suffix.removeprefix(".") or "text"
    # not to be searched: what a scenario says is in the gallery as well
    return f"---\nsearch: {{ exclude: true }}\n---\n\n# {Path(path).name}\n\n````{language}\n{text.rstrip()}\n````\n"


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with its lines changed, those of code excepted: between fences, or indented after an empty line."""
    lines, fence, indented, before = [], "", False, ""
    for line in text.split("\n"):
        marks = _FENCE.match(line)
        if marks and not fence:
            fence = marks[1]
        elif marks and marks[1].startswith(fence) and line.strip() == marks[1]:
            fence = ""
        indented = line.startswith("    ") and (indented or not before.strip())
        lines.append(line if fence or marks or indented else change(line))
        before = line
    return "\n".join(lines)
