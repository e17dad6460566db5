"""What a notebook shows of a scenario: its title and source, what differs from the defaults, and the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..data.notebook import folded, page, table, text
from .mistakes import shown

HEAD = ("title", "source")  # which are not among the keys


def scenario_html(scenario: Any) -> str:
    """A scenario: the keys whose values are not the defaults, and the others folded away. It never raises."""
    try:
        return _scenario(scenario)
    except Exception:
        return f"<pre>{text(type(scenario).__name__)}</pre>"


def _scenario(scenario: Any) -> str:
    tables = scenario.model_dump()
    defaults = dict(_flat(type(scenario)().model_dump()))
    keys = {key: value for key, value in _flat(tables) if key not in HEAD}
    changed = {key: value for key, value in keys.items() if _differs(key, value, defaults)}
    same = {key: value for key, value in keys.items() if key not in changed and value is not None}
    body = table((key, shown(value)) for key, value in changed.items()) or "<div>the defaults</div>"
    rest = table((key, shown(value)) for key, value in same.items())
    return page(scenario.title or scenario.name, scenario.source, body + folded("defaults", rest))


def _differs(key: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    return value is not None and (key not in defaults or defaults[key] != value)


def _flat(tables: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables under dotted keys."""
    for key, value in tables.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
