"""docs/reference/: what is public, module by module; mkdocstrings puts the docstrings in where the site is made."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import attndyn

from .markup import plain

# page -> (its title, its modules): module:names, or what its __all__ names, or else all public that it defines
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "particles": ("Ensembles, spaces, laws", ("particles",)),
    "parts": (
        "The parts of a law",
        (
            "particles.scores",
            "particles.priors",
            "particles.normalisations",
            "particles.masks",
            "particles.gates",
            "particles.multipliers",
            "particles.initial",
            "particles.weights",
        ),
    ),
    "observables": (
        "Observables and distances",
        (
            "particles.observables",
            "particles.merging:Plateau,plateaus",
            "particles.wasserstein",
            "particles.empirical",
            "particles.attention_matrix",
        ),
    ),
    "regularity": (
        "Regularity",
        ("particles.regularity", "particles.maximum_entropy", "particles.temperature"),
    ),
    "integrators": ("Integrators", ("integrators", "integrators.events")),
    "data": ("Files, figures, analysis", ("data", "data.sweeps", "data.limits", "data.rates", "data.figures")),
    "scenarios": (
        "Scenarios",
        (
            "scenarios.schema",
            "scenarios.files",
            "scenarios.run:run",
            "scenarios.sweep",
            "scenarios.limits.study:limit",
            "scenarios.trajectory",
            "scenarios.build",
        ),
    ),
    "errors": ("Errors", ("errors",)),
}
PACKAGES = ("data.analysis", "data.movies", "data.report")  # on the page data, each module that has something public

TOP = """\
# `attndyn`

What `import attndyn` gives. Each name is imported when it is first used, so the import itself costs nothing.

| name | what it is |
| --- | --- |
"""


def pages() -> dict[str, str]:
    """The pages of docs/reference/, by their names."""
    shown: dict[str, str] = {}
    return {"attndyn.md": _top()} | {
        f"{name}.md": _page(title, [*modules, *(_modules_of(PACKAGES) if name == "data" else ())], shown)
        for name, (title, modules) in PAGES.items()
    }


def _top() -> str:
    rows = [
        f"| [`{name}`][{_home(getattr(attndyn, name), name)}] | {_first_line(getattr(attndyn, name))} |"
        for name in attndyn.__all__
        if name != "__version__"
    ]
    return TOP + "\n".join([*rows, "| `__version__` | The version that is installed. |"]) + "\n"


def _page(title: str, modules: list[str], shown: dict[str, str]) -> str:
    """One page; what stands on another already is linked, not repeated."""
    parts = [f"# {title}\n"]
    for module in modules:
        name, _, chosen = module.partition(":")
        parts.extend(_module(import_module(f"attndyn.{name}"), chosen.split(",") if chosen else None, shown))
    return "\n".join(parts)


def _module(module: ModuleType, chosen: list[str] | None, shown: dict[str, str]) -> Iterator[str]:
    things = {name: getattr(module, name) for name in chosen or _public(module)}
    homes = {name: _home(thing, f"{module.__name__}.{name}") for name, thing in things.items()}
    yield f"## `{module.__name__}`\n"
    yield plain((inspect.getdoc(module) or "").split("\n\n")[0]) + "\n"
    elsewhere = [name for name in things if homes[name] in shown or homes[name].count(".") < 2]
    for name, thing in things.items():
        home = homes[name]
        if isinstance(thing, ModuleType) or name in elsewhere:
            continue
        shown[home] = name
        if inspect.isclass(thing) or inspect.isroutine(thing):
            yield f"::: {home}\n"
        elif isinstance(thing, dict):
            yield f"### `{name}`\n\nNames: {', '.join(f'`{key}`' for key in thing)}.\n"
        elif isinstance(thing, (tuple, list, frozenset)):
            yield f"### `{name}`\n\n{', '.join(f'`{each}`' for each in thing)}.\n"
    if elsewhere:
        links = ", ".join(f"[`{name}`][{homes[name]}]" for name in elsewhere)
        yield f"Also here: {links}.\n"


def _public(module: ModuleType) -> list[str]:
    """The names in __all__, else those that the module defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    ]


def _modules_of(packages: tuple[str, ...]) -> Iterator[str]:
    """Those of the packages that export something."""
    yield from (name for name in packages if getattr(import_module(f"attndyn.{name}"), "__all__", ()))


def _home(thing: Any, otherwise: str) -> str:
    """The full name of where a class or a function is defined."""
    module = getattr(thing, "__module__", None)
    named = inspect.isclass(thing) or inspect.isroutine(thing)
    return f"{module}.{thing.__qualname__}" if named and module else otherwise


def _first_line(thing: Any) -> str:
    return plain((inspect.getdoc(thing) or "").split("\n\n")[0])
