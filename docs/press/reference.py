"""docs/reference/: what is public, module by module; mkdocstrings puts the docstrings in where the site is made."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
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
            "particles.shape:mean_inner_product,mean_cosine,aligned_pairs,order,effective_rank,rank,radius,diameter",
            "particles.motion",
            "particles.hull:hull_area,hull_perimeter,hull_vertices",
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
    "data": (
        "Files, figures, analysis",
        ("data", "data.sweeps", "data.limits", "data.rates", "data.figures", "data.movies", "data.importers"),
    ),
    "scenarios": (
        "Scenarios",
        (
            "scenarios.schema",
            "scenarios.files",
            "scenarios.run:run",
            "scenarios.sweep",
            "scenarios.limits.study:limit",
            "scenarios.trajectory",
            "scenarios.analysis",
            "scenarios.spectrum:spectrum",
            "scenarios.comparison",
            "scenarios.resume",
            "scenarios.report",
            "scenarios.build",
        ),
    ),
    "errors": ("Errors", ("errors",)),
}
# on the page data as well: all that their modules define, which is read without importing what may not be installed
PACKAGES = ("data.analysis",)

TOP = """\
# `attndyn`

What `import attndyn` gives. Each name is imported when it is first used, so the import itself costs nothing.

| name | what it is |
| --- | --- |
"""


def pages() -> dict[str, str]:
    """The pages of docs/reference/, by their names."""
    shown: dict[str, str] = {}
    made = {f"{name}.md": _page(title, modules, shown) for name, (title, modules) in PAGES.items()}
    made["data.md"] += "".join(f"\n{part}" for package in PACKAGES for part in _package(package))
    return {"attndyn.md": _top()} | made


def _top() -> str:
    rows = [
        f"| [`{name}`][{_home(getattr(attndyn, name), name)}] | {_first_line(getattr(attndyn, name))} |"
        for name in attndyn.__all__
        if name != "__version__"
    ]
    return TOP + "\n".join([*rows, "| `__version__` | The version that is installed. |"]) + "\n"


def _page(title: str, modules: tuple[str, ...], shown: dict[str, str]) -> str:
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


def _package(package: str) -> Iterator[str]:
    """Every module of a package with the public functions and classes that it defines."""
    folder = Path(attndyn.__file__).parent.joinpath(*package.split("."))
    for path in sorted(folder.glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        public = [name for name in defined if not name.startswith("_")]
        if public:
            name = f"attndyn.{package}.{path.stem}"
            yield f"## `{name}`\n"
            yield plain((ast.get_docstring(tree) or "").split("\n\n")[0]) + "\n"
            yield from (f"::: {name}.{each}\n" for each in public)


def _home(thing: Any, otherwise: str) -> str:
    """The full name of where a class or a function is defined."""
    module = getattr(thing, "__module__", None)
    named = inspect.isclass(thing) or inspect.isroutine(thing)
    return f"{module}.{thing.__qualname__}" if named and module else otherwise


def _first_line(thing: Any) -> str:
    return plain((inspect.getdoc(thing) or "").split("\n\n")[0])
