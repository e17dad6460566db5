"""A process of a run of many: it moves its share of the tokens, and keeps nothing. Started by `processes`."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..errors import AttndynError
from ..integrators.checkpoint import Checkpoint
from ..particles.backends import Engine
from .build import Plan, build
from .processes import meet, member, watched
from .resume import checkpoint_of
from .run import follow
from .schema import Scenario
from .trajectory import Trajectory


def main() -> int:
    """Read the task from standard input and take part in the run; 1 where it broke, which the first process tells."""
    task = json.loads(sys.stdin.buffer.read())
    try:
        plan, checkpoint = _begun(task["source"]) if task["source"] is not None else (_new(task), None)
        with member(Engine(**task["engine"]), task["rank"], task["meeting"]) as own:
            if task["source"] is not None:
                meet()  # from here on the first process may put another file in its place
            follow(plan, own.engine, on_checkpoint=watched(own.called, None), resume=checkpoint)
    except AttndynError:
        return 1
    return 0


def _begun(source: str) -> tuple[Plan, Checkpoint | None]:
    with Trajectory(source) as before:
        return before.plan, checkpoint_of(before.checkpoint)


def _new(task: dict[str, Any]) -> Plan:
    scenario = Scenario.parse(task["text"], name=task["name"], folder=task["folder"], outside=True)
    return build(scenario)


if __name__ == "__main__":
    sys.exit(main())
