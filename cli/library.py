"""Commands about scenario files: list, show, check, schema."""

from __future__ import annotations

import json

from .options import Name, Outside, Seed, Set, scenario_of


def list_scenarios() -> None:
    """List the bundled scenarios.

    Example: attndyn list
    """
    from ..scenarios.files import listing

    rows = listing()
    widths = [max(len(row[column]) for row in rows) for column in ("name", "title")]
    for row in rows:
        print(f"{row['name']:{widths[0]}}  {row['title']:{widths[1]}}  {row['source']}")


def show(name: Name) -> None:
    """Print a scenario file, a good start for one's own.

    Example: attndyn show sphere-clusters > mine.toml
    """
    from ..scenarios.files import source

    print(source(name), end="")


def check(name: Name, changes: Set = None, seed: Seed = None, outside: Outside = False) -> None:
    """Check a scenario without running it, and say what it would do.

    Example: attndyn check mine.toml
    """
    from ..scenarios.build import build
    from ..scenarios.summary import summary

    print(f"ok: {summary(build(scenario_of(name, changes, seed, outside)))}")


def schema() -> None:
    """Print the JSON schema of scenario files, for editors that complete and check them.

    Example: attndyn schema > scenario.schema.json
    """
    from ..scenarios.schema import Scenario

    print(json.dumps(Scenario.model_json_schema(), indent=2))
