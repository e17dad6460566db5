"""A process of a run of many: it moves its share of the tokens, and keeps nothing. Started by `processes`."""

from __future__ import annotations

import json
import sys

from ..errors import AttndynError
from ..particles.backends import Engine
from .build import build
from .processes import member
from .run import follow
from .schema import Scenario


def main() -> int:
    """Read the task from standard input and take part in the run; 1 where it broke, which the first process tells."""
    task = json.loads(sys.stdin.buffer.read())
    scenario = Scenario.parse(task["text"], name=task["name"], folder=task["folder"], outside=True)
    try:
        with member(Engine(**task["engine"]), task["rank"], task["meeting"]) as engine:
            follow(build(scenario), engine)
    except AttndynError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
