"""From the table depth.schedule of a scenario to its laws over depth."""

from __future__ import annotations

from collections.abc import Sequence

from ..particles.block import Law
from ..particles.schedule import Schedule, numbers_of, with_numbers
from ..particles.weights import ornstein_uhlenbeck
from .mistakes import blaming
from .schedule import depths_of
from .schema import Scenario


def scheduled(scenario: Scenario, laws: Sequence[Law]) -> Schedule:
    """The schedule of laws whose drawn matrices are independent, one for each of its depths.

    An Ornstein-Uhlenbeck process is exact at these depths, and interpolated between them.
    """
    section, depths = scenario.depth.schedule, depths_of(scenario.depth)
    assert section is not None
    with blaming("depth.schedule"):
        if section.correlation is not None:
            own = [numbers_of(law) for law in laws]
            names = [*scenario.attention.drawn(), *scenario.block.drawn()]
            paths = {
                name: ornstein_uhlenbeck([numbers[name] for numbers in own], depths, section.correlation)
                for name in names
            }
            laws = [with_numbers(law, {name: paths[name][k] for name in names}) for k, law in enumerate(laws)]
        return Schedule(laws, depths, interpolated=section.kind != "piecewise")
