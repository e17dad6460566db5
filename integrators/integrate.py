"""The loop that moves an ensemble: one for all methods."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..logs import ENDING, logger_of
from ..particles.attention import Attention
from ..particles.backends import Engine, EngineOptions
from ..particles.block import Law, attention_of
from ..particles.ensemble import Ensemble
from ..particles.schedule import Schedule, laws_of
from ..particles.space import Sphere
from ..particles.weighting import Weighting, at_depth, extended
from .arithmetic import State
from .brownian import Noise
from .checkpoint import Checkpoint, check, checkpoint_of, recall_field
from .clock import SHORTEST, Clock
from .control import StepControl
from .course import Course, choose
from .events import Event
from .failures import Failure, is_far, not_finite, step_too_small, too_many_steps
from .frames import Frames
from .merging import MERGE_AT_THE_FLOOR, Merging
from .methods import Stepper
from .solution import Solution, Statistics, joined_records
from .way import Way

Array = NDArray[np.floating]
LOG = logger_of(__name__)


def integrate(
    law: Law | Schedule | Sequence[Law],
    ensemble: Ensemble,
    *,
    t_end: float | None = None,
    method: str = "tsit5",
    step: float | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    layers: int | None = None,
    residual: bool = True,
    scaling: str = "1/L",
    save_at: ArrayLike | None = None,
    exact: bool = False,
    stop: Sequence[Event] = (),
    on_save: Callable[[int, float, Ensemble], None] | None = None,
    on_progress: Callable[[float, Statistics], None] | None = None,
    merge: float | None = None,
    on_merge: Callable[[float, NDArray[np.intp]], None] | None = None,
    max_steps: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    noise_step: float | None = None,
    weighting: Weighting | None = None,
    on_checkpoint: Callable[[Callable[[], Checkpoint]], str | None] | None = None,
    resume: Checkpoint | None = None,
    **engine: Unpack[EngineOptions],
) -> Solution:
    """Move an ensemble under an attention law from depth 0 to t_end, or through a number of layers.

    law      : one law, an `Attention` or a `Block`; a `Schedule` of them over depth, whose law at depth t moves layer
               t / step; or for independent weights one per layer
    t_end    : the depth to reach; with `layers` it is layers * step
    method   : "euler", "heun", "rk4", "geodesic-euler" (fixed `step`), "bs32", "tsit5", "dp54", "dop853" (adaptive),
               "kencarp4" (adaptive, implicit, for clusters that last),
               "euler-maruyama", "heun-stratonovich" (fixed `step`, with noise); for blocks with a feed-forward map also
               "lie-trotter", "strang" (fixed `step`)
    step     : the fixed step, the layer's step (default 1), or the first step of an adaptive method
    rtol, atol : the error of a step is kept below atol + rtol |x_i|, as a root mean square over tokens; rtol is at
               least 10 times the rounding of the tokens' number type
    layers   : the discrete network x <- retract(x + step attention(x)) instead of a method; without `residual`
               x <- retract(step attention(x)); for a block see `attndyn.particles.block`
    scaling  : of a network: "1/L", or "1/sqrt(L)", x <- retract(x + sqrt(step) attention(x)), under which independent
               centred weights have a limit as step = T / L -> 0
    save_at  : increasing depths in [0, t_end], by default both ends; between steps the method's interpolant is
               used, or with `exact` the steps are cut to land there
    stop     : events that end the run early; the state at the event is saved as well
    on_save  : called with (step number, t, ensemble) for every frame, which are then not kept in memory
    on_progress : called with (t, statistics) after every accepted step
    merge    : tokens that have come within this distance become one, with the sum of their weights; frames show them
               all. For one replica, a law without a mask, and continuous depth; see also `long_time`
    on_merge : called with (t, merged_into) when tokens have become one; merged_into (tokens,) is the number of the
               first token of the group that each belongs to
    max_steps : ends the run as failed; by default 10 million
    noise    : temperature kappa of the Brownian motion sqrt(2 kappa) P_x o dB that drives every token; frames are then
               whole steps. In a network x <- retract(x + step attention(x) + sqrt(2 kappa) P_x dB)
    seed, noise_step : the path of B is a function of the seed, the replica and the token; it is drawn on intervals of
               length noise_step (by default step), of which the step is a half, a quarter, ...
    weighting : how the weights of tokens change with depth, a `WeightSchedule` or a `Focus`; by default they stay
    on_checkpoint : called after every accepted step with a function that gives the checkpoint there; the status it
               returns, if any, ends the run
    resume   : a checkpoint of a run with the same arguments, from which this one goes on; frames that it counts as
               saved are not saved again, and all that follows is what the undisturbed run has, to the bit
    engine   : backend, device, threads, sums, sum_tolerance, as in `Attention.drift`

    The loop: try a step; an adaptive method repeats it shorter until its error is small enough; a state that is not
    finite ends the run; look for an event inside the step; save what is due; take the step.

    A run that fails or is interrupted is returned with its status, not raised; what was saved stands. Numbers that
    overflow in a trial are judged by its result: NumPy's warnings of them are off meanwhile. Raises InvalidInput for
    wrong arguments, before anything is computed.
    """
    step = 1.0 if layers is not None and step is None else step
    noise_of = Noise(noise, seed, noise_step)
    way = Way(law, weighting, method, step, rtol, atol, layers, residual, scaling, noise_of)
    course = choose(
        way, ensemble, t_end=t_end, save_at=save_at, exact=exact, merge=merge, max_steps=max_steps,
        engine=Engine(**engine),
    )  # fmt: skip
    frames = Frames(course.save_at, on_save, lambda t, state: at_depth(weighting, ensemble, t, state))
    merging = Merging(ensemble, merge, on_merge, _attentions(law))
    start = course.stepper.arithmetic.load(extended(weighting, ensemble))
    run = _Run(
        course, course.stepper, frames, merging, tuple(stop), on_progress, on_checkpoint, (0.0, start), ensemble.tokens
    )
    if resume is not None:
        run.go_on_from(resume)
    run.began = time.perf_counter() - run.statistics.wall_seconds
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        try:
            status = run.to_its_end()
        except KeyboardInterrupt:
            status = "interrupted"
        t, x = run.now[0], run.of_all(run.now[1])
        run.statistics.wall_seconds = time.perf_counter() - run.began
        run.count_drifts()  # those of the last interpolant included
        behind = frames.last is None or frames.last < t
        if status != "finished" and behind and np.isfinite(x).all():
            frames.add(run.statistics.accepted, t, x)  # where an event, a failure or the user ended it
    final = x[:, : ensemble.tokens].copy()
    times, positions, weights, focus = frames.arrays(ensemble)
    record, merged_into = run.record() | merging.record(), merging.merged_into
    return Solution(
        times, positions, weights, focus, status, run.statistics, t, final, merged_into, record, run.failure
    )


def _attentions(law: Law | Schedule | Sequence[Law]) -> tuple[Attention, ...]:
    """The laws, where at every depth one of them is all that moves tokens, else none."""
    laws = laws_of(law)
    alone = all(isinstance(one, Attention) for one in laws) and not (isinstance(law, Schedule) and law.interpolated)
    return tuple(attention_of(one) for one in laws) if alone else ()


@dataclass
class _Run:
    """One integration at work; `now` (depth, state) is replaced as a whole, so an interrupt leaves no half step."""

    course: Course
    stepper: Stepper
    frames: Frames
    merging: Merging
    stop: tuple[Event, ...]
    on_progress: Callable[[float, Statistics], None] | None
    on_checkpoint: Callable[[Callable[[], Checkpoint]], str | None] | None
    now: tuple[float, State]
    tokens: int  # of the user's ensemble
    statistics: Statistics = field(default_factory=Statistics)
    drifts_before: int = 0  # of steppers that were replaced, as are their records
    records: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)  # at `now`
    began: float = 0.0  # on the clock of this process
    h: float = 0.0  # the length of the next step; 0 before the first
    control: StepControl = field(default_factory=lambda: StepControl(0))
    failure: Failure | None = None

    def to_its_end(self) -> str:
        """Step until the end, an event or a failure; the status."""
        if self.h == 0.0 and (event := self._begin()) is not None:
            return f"stopped: {event.name}"
        course, statistics, control = self.course, self.statistics, self.control
        t, x = self.now
        while t < course.t_end:
            stepper, clock, h = self.stepper, self.clock, self.h
            length, after = self._land(clock, h)
            t_new = after.t
            error = stepper.attempt(t, length, x)
            self.count_drifts()
            if stepper.adaptive:
                good, factor = control.judge(error)
                if not good:
                    statistics.rejected += 1
                    self.h = h = length * factor
                    if h < self._shortest(t, error):
                        return self._failed(step_too_small, t, x, self._speed(), error)
                    continue
                # a step cut short to land somewhere says little about the next
                h = max(h, length * factor) if length < h else length * factor
            elif not np.isfinite(error):
                return self._failed(not_finite, t_new, x, self.all_tokens(stepper.moved))
            inside = self._event_inside(clock, length, t_new, x)
            if inside is not None:
                return f"stopped: {inside.name}"
            self._save(clock, length, t_new, x, stepper.moved)
            stepper.accept(t_new)
            statistics.accepted += 1
            t, x, stepper.moved = t_new, stepper.moved, x
            self.now, self.clock, self.h = (t, x), after, h
            if self.on_progress is not None:
                self.on_progress(t, statistics)
            if (event := self._event_now([event for event in self.stop if not event.located])) is not None:
                return f"stopped: {event.name}"
            if statistics.accepted >= course.max_steps and t < course.t_end:
                return self._failed(too_many_steps, t, x, self._speed(), course.max_steps, length)
            if any([self._switch(t), self._join()]):
                x = self.now[1]
                self.stepper.start(t, x)
            if self.on_checkpoint is not None and (status := self.on_checkpoint(lambda: checkpoint_of(self))):
                return status
        return "finished"

    def _begin(self) -> Event | None:
        """All that comes before the first step; the event that is true already."""
        if self.frames.due() == 0.0:
            self.frames.add_due(0, self.of_all(self.now[1]))
        self._join()
        self.stepper.start(*self.now)
        event = self._event_now(self.stop)
        self.control, self.h = StepControl(self.stepper.error_order), self.course.first(self.stepper, self.now[1])
        return event

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Stand where the run that was interrupted stood. Raises InvalidInput for a checkpoint of another run."""
        check(checkpoint, self.merging.ensemble.positions.shape)
        record, arrays = checkpoint.record, checkpoint.arrays
        self.merging.go_on(record, arrays)
        self.course = replace(self.course, engine=replace(self.course.engine, sums=record["sums"]))
        self.clock = Clock(*record["clock"])
        t = self.clock.t
        self.stepper = self.course.way.stepper(self.merging.ensemble, self.course.engine, t)
        load = self.stepper.arithmetic.load
        self.now = (t, load(arrays["state"]))
        slopes = {name[7:]: load(values) for name, values in arrays.items() if name.startswith("method_")}
        recall_field(self.stepper.field, record["field"])  # what was decided is not decided anew
        self.stepper.start(*self.now)
        self.stepper.recall(record["method"] | slopes)
        recall_field(self.stepper.field, record["field"])
        self.stepper.evaluations, self.drifts_before = record["evaluations"], record["drifts_before"]
        self.h, self.records = record["h"], dict(record["records"])
        self.control = StepControl(self.stepper.error_order, *record["control"])
        self.statistics = Statistics(**record["statistics"])
        self.frames.go_on(record["frames"], record["last"])

    def all_tokens(self, state: State) -> Array:
        """The positions (or speeds) of all tokens of the user's, (replicas, tokens, dimension); only to be read."""
        return self.of_all(state)[:, : self.tokens]

    def of_all(self, state: State) -> Array:
        """As `all_tokens`, with what a weighting has added to the state."""
        return self.merging.of_all(self.stepper.arithmetic.host(state))

    def count_drifts(self) -> None:
        """Bring the number of drift evaluations up to date."""
        self.statistics.drift_evaluations = self.drifts_before + self.stepper.evaluations

    def record(self) -> dict[str, Any]:
        """What the fields have to tell of how they computed, that of the last and those before it."""
        tell = getattr(self.stepper.field, "record", None)
        return joined_records(self.records, tell() if tell is not None else {})

    def _join(self) -> bool:
        """Let tokens that have met become one; whether the stepper, not yet started, is another now.

        A field whose sums no longer resolve the drift says so (`at_floor`): from then on sums are exact.
        """
        engine, at_floor = self.course.engine, getattr(self.stepper.field, "at_floor", False)
        if self.merging.distance is None and not at_floor:
            return False
        if at_floor:
            engine = replace(engine, sums="exact")
            if self.merging.distance is None and self.course.mergeable:
                size = float(np.linalg.norm(self.merging.ensemble.positions[0], axis=-1).max())
                self.merging.distance = MERGE_AT_THE_FLOOR * size
        t, x = self.now
        met = self.merging.look(t, self.stepper.arithmetic.host(x))
        if self.merging.distance is not None:
            engine = self.merging.resolving(engine)
        if not met and engine == self.course.engine:
            return False
        self.course = replace(self.course, engine=engine)
        self._go_on_with(self.merging.ensemble if met else self._ensemble())
        return True

    def _switch(self, t: float) -> bool:
        """Whether another law came into force at the depth just reached, and with it another stepper."""
        if t not in self.course.switches:
            return False
        self._go_on_with(self._ensemble())
        return True

    def _ensemble(self) -> Ensemble:
        ensemble = self.merging.ensemble
        return ensemble.at(self.stepper.arithmetic.host(self.now[1])[:, : ensemble.tokens])

    def _go_on_with(self, ensemble: Ensemble) -> None:
        """Take a new stepper, not yet started, for this ensemble."""
        t, state, weighting = self.now[0], self.stepper.arithmetic.host(self.now[1]), self.course.way.weighting
        further = state[:, state.shape[1] - (0 if weighting is None else weighting.rows) :]
        self.records = self.record()
        self.drifts_before += self.stepper.evaluations
        self.stepper = self.course.way.stepper(ensemble, self.course.engine, t)
        self.now = (t, self.stepper.arithmetic.load(np.concatenate([ensemble.positions, further], axis=1)))

    def _event_now(self, events: Sequence[Event]) -> Event | None:
        """The first of these events that is true at the depth reached."""
        if not events:
            return None
        t, positions = self.now[0], self.all_tokens(self.now[1])
        return next((event for event in events if event.reached(t, positions, self._speed())), None)

    def _speed(self) -> Array | None:
        speed = self.stepper.speed()
        return None if speed is None else self.all_tokens(speed)

    def _failed(self, why: Callable[..., Failure], t: float, x: State, *arguments: Any) -> str:
        """The status of a run that ends here, and its failure."""
        space, steps = self.merging.ensemble.space, self.statistics.accepted
        setting = self.course.way.setting(self.now[0], steps, space, self.stepper.adaptive)
        self.failure = why(setting, t, self.all_tokens(x), *arguments)
        LOG.warning("the run failed: %s", self.failure.told(), extra=ENDING)
        return f"failed: {self.failure.told()}"

    def _shortest(self, t: float, error: float) -> float:
        """The step below which a run has failed.

        In R^d tokens may reach infinity in finite depth, and that is how it shows. On a sphere the drift is bounded,
        and a step far below the spacing of depths is one of clusters that meet after a long time.
        """
        if not np.isfinite(error) and is_far(np.abs(x := self.all_tokens(self.now[1])).max(), x.dtype):
            return np.inf  # where it is known to end in any case; in single precision shorter steps would stand still
        bounded = isinstance(self.merging.ensemble.space, Sphere) and np.isfinite(error)
        return SHORTEST * float(np.spacing(1e-300 if bounded else max(t, 1e-300)))

    def _land(self, clock: Clock, h: float) -> tuple[float, Clock]:
        """The length of the next step and where it ends: exactly at the end, a save time to hit, or a whole step."""
        course, t = self.course, clock.t
        if not self.stepper.adaptive:
            # from the count, so that times do not drift
            end = min((self.statistics.accepted + 1) * h, course.t_end)
            after = bisect_right(course.switches, t)
            for marked in (course.t_end, *course.switches[after : after + 1]):
                if abs(marked - end) < 1e-9 * h:
                    end = marked
            shorter = self.stepper.continuous and end - t < h * (1 - 1e-9)
            return (end - t if shorter else h), Clock(end)
        coming = course.switches[bisect_right(course.switches, t) :][:1]
        target = min(course.t_end, self.frames.due() if course.exact else np.inf, *coming)
        if h * (1 + 1e-12) >= clock.until(target):
            return clock.until(target), Clock(target)
        return h, clock.after(h)

    def _save(self, clock: Clock, length: float, t_new: float, x: State, at_end: State) -> None:
        """Save the frames that are due up to t_new, within the step just tried from x, where the state is at_end."""
        while (due := self.frames.due()) <= t_new:
            if due == t_new:
                self.frames.add_due(self.statistics.accepted + 1, self.of_all(at_end))
            else:
                between = self._between(clock.t, length, x, clock.until(due) / length)
                self.frames.add_due(self.statistics.accepted, self.of_all(between))

    def _between(self, t: float, length: float, x: State, theta: float) -> State:
        out = self.stepper.arithmetic.zeros(x)
        self.stepper.interpolate(t, length, x, theta, out)
        return out

    def _event_inside(self, clock: Clock, length: float, t_new: float, x: State) -> Event | None:
        """The located event that came true first in the step just tried, if any; the run then ends where it did.

        Found by bisection on the interpolant to 1e-9 of the step, or at the end of the step where there is none.
        """
        stepper, t = self.stepper, clock.t
        located = [event for event in self.stop if event.located]
        true = [event for event in located if event.reached(t_new, self.all_tokens(stepper.moved), None)]
        if not true:
            return None
        low, high, there = 0.0, 1.0, stepper.moved
        while stepper.continuous and high - low > 1e-9:
            middle = 0.5 * (low + high)
            between = self._between(t, length, x, middle)
            earlier = [event for event in true if event.reached(t + middle * length, self.all_tokens(between), None)]
            if earlier:
                high, there, true = middle, between, earlier
            else:
                low = middle
        end = t_new if high == 1.0 else clock.after(high * length).t
        self._save(clock, length, end, x, there)
        self.statistics.accepted += 1
        self.now = (end, there)
        return true[0]
