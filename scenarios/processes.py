"""The processes of a run of one system: peers on this machine started here, or those that torchrun started.

The process that asked for the run is the first of the ring: it draws the progress, measures and writes. Peers build
the same scenario and keep nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, MissingExtra
from ..integrators.checkpoint import Checkpoint
from ..interrupts import Call, noted
from ..particles.backends import Engine
from .build import Plan
from .schema import Scenario
from .watch import Watch

PATIENCE = timedelta(days=7)  # how long a process waits for another, which may be measuring


@dataclass(frozen=True)
class Member:
    """A process of the group: its number, 0 for the first; its engine; and what Ctrl-C in it sets."""

    rank: int
    engine: Engine
    called: Call


def launched() -> tuple[int, int] | None:
    """This process's rank and the number of processes, where torchrun (or the like) has started them."""
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return None
    return (rank, size) if size > 1 else None


def check_divisible(plan: Plan, processes: int) -> None:
    """Raise InvalidInput unless the tokens of this plan can be divided among so many processes."""
    if plan.ensemble.tokens < processes:
        raise InvalidInput(f"processes must be at most the number of tokens, {plan.ensemble.tokens}; got {processes}")
    if plan.scenario.depth.merge is not None:
        raise InvalidInput(f"merge needs a run in one process; got processes = {processes}")
    if plan.schedule is not None and plan.schedule.interpolated:
        raise InvalidInput(f"an interpolated schedule needs a run in one process; got processes = {processes}")


@contextlib.contextmanager
def ring(scenario: Scenario, engine: Engine, source: Path | None = None) -> Iterator[Member]:
    """The process group of engine.processes processes while it is needed: this one's place in it.

    source : the file of a run that is gone on with; what it says is read by all before they meet here

    Raises InvalidInput where torchrun has started another number of processes, MissingExtra without torch.
    """
    given = launched()
    if given is not None:
        rank, size = given
        if engine.processes not in (1, size):
            raise InvalidInput(f"processes: torchrun has started {size}; got {engine.processes}")
        with member(replace(engine, processes=size), rank, "env://") as own:
            if source is not None:
                meet()
            yield own
            meet()  # from here on every process may read what the first has written
        return
    with (
        tempfile.TemporaryDirectory(prefix="attndyn-") as folder,
        _peers(scenario, engine, folder, source),
        member(engine, 0, f"file://{folder}/meeting") as own,
    ):
        if source is not None:
            meet()
        yield own


@contextlib.contextmanager
def _peers(scenario: Scenario, engine: Engine, folder: str, source: Path | None) -> Iterator[None]:
    """The other processes, from their start to their end; should this one fail, they are ended."""
    peers = []
    try:
        for rank in range(1, engine.processes):
            task = {
                "text": scenario.text,
                "name": scenario.name,
                "folder": str(scenario.folder.resolve()),
                "engine": asdict(engine),
                "source": None if source is None else str(source.resolve()),
                "rank": rank,
                "meeting": f"file://{folder}/meeting",
            }
            command = [sys.executable, "-m", f"{__package__}.peer"]
            peer = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            assert peer.stdin is not None
            peer.stdin.write(json.dumps(task).encode())
            peer.stdin.close()
            peers.append(peer)
        yield
        for peer in peers:
            peer.wait(timeout=60)
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()


@contextlib.contextmanager
def member(engine: Engine, rank: int, meeting: str) -> Iterator[Member]:
    """This process as one of the group, with its share of the cores; Ctrl-C is noted, and `watched` tells the others.

    meeting : where the processes find each other, as torch.distributed has it: "env://" or "file://..."

    Raises ComputationFailed when another process is lost, MissingExtra without torch.
    """
    try:
        import torch
        import torch.distributed as dist
    except ImportError:
        raise MissingExtra('processes need PyTorch: pip install "attndyn[torch]"') from None
    from ..particles.backends.tensor.ring import together

    on_gpu, threads = engine.device != "cpu", torch.get_num_threads()
    if meeting.startswith("file:"):  # on one machine, whose name need not resolve to anything
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    transport = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    with together():
        dist.init_process_group(
            transport, init_method=meeting, rank=rank, world_size=engine.processes, timeout=PATIENCE
        )
    try:
        if on_gpu:
            number = int(os.environ.get("LOCAL_RANK", rank)) % max(torch.cuda.device_count(), 1)
            engine = replace(engine, device=f"cuda:{number}")
        else:
            torch.set_num_threads(max(1, threads // engine.processes))
        with noted() as called:
            yield Member(rank, engine, called)
    finally:
        torch.set_num_threads(threads)
        dist.destroy_process_group()


def meet() -> None:
    """Wait until all processes are here."""
    import torch.distributed as dist

    dist.barrier()


def watched(called: Call, own: Watch | None) -> Callable[[Callable[[], Checkpoint]], str | None]:
    """What is called after every step in all processes: as `Watch`, whose state is gathered from all.

    called : of this process; Ctrl-C in any ends the run of all, with the same step
    own    : of the first process, which alone decides the rest, and writes; None in others
    """
    import torch
    import torch.distributed as dist

    from ..particles.backends.tensor.ring import together

    def look(checkpoint: Callable[[], Checkpoint]) -> str | None:
        status = None if own is None else own.end()
        flags = torch.tensor([called.is_set(), status is not None, own is not None and own.due()], dtype=torch.float64)
        with together():
            dist.all_reduce(flags)
        if status is None and bool(flags[:2].any()):
            status = "interrupted"
        if bool(flags.any()):
            taken = checkpoint()
            if own is not None:
                own.note(taken)
        return status

    return look


def agreed(reached: Callable[..., bool]) -> Callable[..., bool]:
    """The same condition, answered for all processes by the first: they need not see the same clock."""
    import torch
    import torch.distributed as dist

    def answer(*arguments: Any) -> bool:
        verdict = torch.tensor([float(reached(*arguments))])
        dist.broadcast(verdict, src=0)
        return bool(verdict[0])

    return answer
