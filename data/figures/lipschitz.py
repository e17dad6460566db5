"""How sensitive the law is along a trajectory: its local Lipschitz constants over depth, and what is proven of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...errors import AttndynError, InvalidInput
from ...particles import Ensemble
from ...particles.block import Law, attention_of
from ...particles.regularity import Bound, bounds, local_constant, one_sided_constant
from ..excerpt import sample
from .look import Look, Sheet
from .panels import changes_scale, scale_values

Array = NDArray[np.float64]

MOST_FRAMES, FEWEST = 16, 5
MOST_WORK = 4e9  # multiplications
PRODUCTS = 60  # with the Jacobian, that one constant takes
MOST_TOKENS = 200  # a law that sees all tokens alike is measured at a random choice of them
LARGEST = 600  # tokens of laws under which no token may be left out
TOLERANCE = 0.02  # of the iteration; the constants err by its square, mostly


def why_no_lipschitz(look: Look) -> str | None:
    """Why there are no Lipschitz constants: the law is not known, or there are too many tokens for it."""
    try:
        law = look.law()
    except InvalidInput as error:
        return str(error)
    if look.tokens > LARGEST and not _may_leave_out(law):
        return f"tokens under a mask or prior are not sampled: at most {LARGEST}; the file has {look.tokens}"
    return None


def draw_lipschitz(look: Look) -> Sheet:
    """The largest |J v| / |v|, the largest <v, J v> / |v|^2, and the smallest bound of the first.

    J is the Jacobian of the drift at the tokens; the norm is that of the measure, (sum_i a_i |v_i|^2)^(1/2). Two runs
    that are close part at most like exp of the integral of the second. Source: arXiv:2312.14820.
    """
    weights = np.asarray(look.ensemble(0).weights, np.float64)
    tokens = sample(weights, MOST_TOKENS if _may_leave_out(look.law()) else look.tokens)
    affordable = MOST_WORK / _work(look, len(tokens))
    frames = look.frames if look.chosen is not None else look.spread(int(np.clip(affordable, FEWEST, MOST_FRAMES)))
    both = affordable >= FEWEST  # the second takes twice as long as the first
    constants = np.full((2, len(frames)), np.nan)
    failures: list[str] = []
    for place, frame in enumerate(frames):
        try:
            constants[: 1 + both, place] = _constants(look, int(frame), tokens, both)
        except AttndynError as error:
            failures.append(str(error))
    if not np.isfinite(constants).any():
        raise InvalidInput(failures[0] if failures else "the local constants are not finite at any depth")
    figure = Figure(figsize=(5.0, 3.2))
    axes = figure.subplots()
    times = look.times[frames]
    style: dict[str, Any] = {"marker": "o" if len(frames) <= 30 else None, "markersize": 2.5}
    axes.plot(times, constants[0], color="C0", label=r"largest $\Vert Jv \Vert \,/\, \Vert v \Vert$", **style)
    if both:
        label = r"largest $\langle v, Jv \rangle \,/\, \Vert v \Vert^2$"
        axes.plot(times, constants[1], "--", color="C1", label=label, **style)
    proven = _proven(look)
    remarks = []
    if proven is not None:
        remarks.append(f"bound {proven.name} ({proven.source}): {proven.value:.4g}")
        if proven.value <= 300 * np.nanmax(np.abs(constants)):
            axes.axhline(proven.value, color="C2", linestyle=":", label=f"bound {proven.name}")
            constants = np.concatenate([constants, np.full((1, len(frames)), proven.value)])
    if changes_scale(constants):
        axes.set_yscale("log")
    else:
        scale_values(axes, constants, whole=False)
    if np.nanmin(constants) < 0:
        axes.axhline(0.0, color="0.6", linewidth=0.6, zorder=0)
    axes.set_ylabel("constant of the drift")
    look.scale.along_x(axes, ticks=8)
    axes.legend()
    few = f" of {look.tokens}" if len(tokens) < look.tokens else ""
    return Sheet(figure, [f"local constants at {len(frames)} frames, {len(tokens)}{few} tokens", *remarks])


def _may_leave_out(law: Law) -> bool:
    attention = attention_of(law)
    alike = attention.mask.name == "none" and attention.prior is None and attention.rotary is None
    return alike and attention.multipliers is None


def _work(look: Look, tokens: int) -> float:
    """Multiplications for one frame."""
    heads, width = attention_of(look.law()).heads, look.space.dimension
    return PRODUCTS * heads * tokens * (8.0 * tokens + 4.0 * width * max(4, width // heads))


def _constants(look: Look, frame: int, tokens: NDArray[np.intp], both: bool) -> list[float]:
    law, whole = look.law(frame), look.ensemble(frame)
    weights = np.asarray(whole.weights)[tokens]
    ensemble = Ensemble(whole.positions[:, tokens], whole.space, weights / weights.sum())
    options: dict[str, Any] = {"norm": "measure", "tolerance": TOLERANCE, "backend": "reference"}
    measures = (local_constant, one_sided_constant) if both else (local_constant,)
    return [float(measured(law, ensemble, **options).value[0]) for measured in measures]


def _proven(look: Look) -> Bound | None:
    """The smallest bound of the constant in the norm of the measure, if there is one for this law and space."""
    law, weights = look.law(), np.asarray(look.ensemble(0).weights)
    equal = bool((weights == weights[0]).all())
    try:
        found = bounds(attention_of(law), look.space, tokens=look.tokens, weights=weights)
    except InvalidInput:
        return None
    # for equal weights the norms of the tokens and of the measure differ by a factor only
    fitting = [bound for bound in found if bound.norm == "measure" or (equal and bound.norm == "euclidean")]
    fitting = [bound for bound in fitting if np.isfinite(bound.value)]
    return min(fitting, key=lambda bound: bound.value, default=None)
