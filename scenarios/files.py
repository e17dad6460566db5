"""Where scenario files are found: bundled ones by their names, others by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import ScenarioError
from . import toml
from .mistakes import nearest

LIBRARY = Path(__file__).parent / "library"


def names() -> list[str]:
    """The names of the bundled scenarios."""
    return sorted(path.stem for path in LIBRARY.glob("*.toml"))


def listing() -> list[Mapping[str, str]]:
    """Name, title and source of every bundled scenario."""
    tables = ((name, toml.parse(source(name))) for name in names())
    return [{"name": name, "title": table["title"], "source": table["source"]} for name, table in tables]


def source(name_or_path: str | Path) -> str:
    """The text of a scenario file, comments and all. Raises ScenarioError where there is none."""
    path = locate(name_or_path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: not a text in UTF-8 (byte {error.start + 1})") from None
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from None


def locate(name_or_path: str | Path) -> Path:
    """The path of a scenario. Raises ScenarioError where there is none."""
    name = str(name_or_path)
    if name in names():
        return LIBRARY / f"{name}.toml"
    path = Path(name_or_path)
    if path.is_dir():
        raise ScenarioError(f"{path}: is a folder; a scenario is a .toml file or a bundled name")
    if path.exists():
        return path
    likely = nearest(name, names())
    hint = f"did you mean {likely}?" if likely else f"bundled are {', '.join(names())}"
    raise ScenarioError(f"{name}: neither a bundled scenario nor a file; {hint}")
