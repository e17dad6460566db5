"""What a run ran on: versions, machine, command line, seed. Enough to tell why two files differ."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

PACKAGES = ("attndyn", "numpy", "scipy", "numba", "h5py")


def provenance_of_run(*, seed: int | None = None, threads: int | None = None, **more: Any) -> dict[str, Any]:
    """Versions, platform, command line and UTC start of a run that starts now; ready for JSON.

    `more` is added as it is (a backend, a device); `author`, if given, becomes the H5MD author of the file.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "seed": seed,
        "threads": threads,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
            "hdf5": h5py.version.hdf5_version,
        },
        "platform": platform.platform(),
        "cpu": _processor(),
        "cpu_count": os.cpu_count(),
        "blas": _blas(),
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The name of the processor; Python itself does not know it on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _blas() -> str | None:
    """Name and version of the BLAS that numpy was built with."""
    build = np.show_config(mode="dicts")
    blas = (build or {}).get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name')} {blas.get('version')}" if blas else None
