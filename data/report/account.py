"""What a page says in words, and what it needs to know that the file alone does not tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...particles.block import Law


@dataclass(frozen=True)
class Account:
    """The words of a page; all of them are plain text, which the page escapes.

    title, lead      : what it is, and one sentence about it
    facts            : (what, how it is) in the order of the page
    again            : the command lines that make the file again
    notices          : sentences that a reader must not miss: how a run failed, what the page lacks and why
    law_at           : the law at a depth; None where the file's scenario is not understood
    cluster_distance : within which tokens belong together; None for that of the space
    layer_step       : the depth of a layer, of networks
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    again: str
    notices: Sequence[str] = ()
    law_at: Callable[[float], Law] | None = None
    cluster_distance: float | None = None
    layer_step: float | None = None
