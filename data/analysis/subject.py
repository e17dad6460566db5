"""What an analysis looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...particles.block import Law


@dataclass(frozen=True, eq=False)
class Subject:
    """What an analysis looks at.

    trajectory       : an open file, see `attndyn.data.reading.Trajectory`
    law_at           : the law at a depth; None where the file's scenario is not understood
    replica          : one of its replicas
    depths           : at which to look closely; by default some along the way
    cluster_distance : within which two tokens belong together; by default that of the scenario, or of the space
    threads          : by default one per core
    """

    trajectory: Any
    law_at: Callable[[float], Law] | None = None
    replica: int = 0
    depths: Sequence[float] | None = None
    cluster_distance: float | None = None
    threads: int | None = None
