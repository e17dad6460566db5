"""What a notebook shows of a scenario: its title and source, what differs from the defaults, and the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..data.notebook import folded, page, table, text
from . import toml

HEAD = ("title", "source")  # which are not among the keys


def scenario_html(scenario: Any) -> str:
    """A scenario: the keys whose values are not the defaults, and the others folded away. It never raises."""
    try:
        return _scenario(scenario)
    except Exception:
        return f"<pre>{text(type(scenario).__name__)}</pre>"


def _scenario(scenario: Any) -> str:
    defaults = dict(_keys(type(scenario)().model_dump()))
    values = {key: value for key, value in _keys(scenario.model_dump()) if key not in HEAD}
    changed = {key: value for key, value in values.items() if key not in defaults or defaults[key] != value}
    body = table((key, toml.literal(value)) for key, value in changed.items()) or "<div>the defaults</div>"
    same = table((key, toml.literal(value)) for key, value in values.items() if key not in changed)
    return page(scenario.title or scenario.name, scenario.source, body + folded("defaults", same))


def _keys(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a scenario under their keys, section.key; what a file would leave out is left out."""
    for key, value in _present(tables).items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", entry) for name, entry in value.items())
        else:
            yield key, value


def _present(value: Any) -> Any:
    """Tables without the entries that are None, which a file has no word for."""
    if isinstance(value, Mapping):
        return {key: _present(entry) for key, entry in value.items() if entry is not None}
    return value
