"""A long run keeps its memory: what the operating system has given the process does not grow with the frames."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCENARIO = """
[tokens]
count = 16
[attention]
value = -1.0
[depth]
time = {time}
method = "euler"
step = 0.01
[save]
every = 0.01
observables = ["order"]
"""
RUN = """
import json, os, sys
import attndyn
looks = []
def look(t, statistics):
    if statistics.accepted % 500 == 0:
        with open("/proc/self/statm") as statm:
            looks.append([statistics.accepted, int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")])
attndyn.run(sys.argv[1], sys.argv[2], progress=look, threads=1).close()
print(json.dumps(looks))
"""
FRAME = 16 * 3 * 8  # bytes


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_resident_memory_does_not_grow_with_the_frames(tmp_path):
    scenario, frames = tmp_path / "soak.toml", 16_000
    scenario.write_text(SCENARIO.format(time=frames * 0.01))
    command = [sys.executable, "-c", RUN, str(scenario), str(tmp_path / "soak.h5")]
    looks = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    steps, memory = np.array(looks, float).T
    assert steps[-1] == frames
    settled = steps >= frames / 4  # kernels, buffers and the caches of HDF5 are there
    growth = np.polyfit(steps[settled], memory[settled], 1)[0]
    assert growth < FRAME / 2  # bytes a frame: a run that kept its frames would have at least all of one
