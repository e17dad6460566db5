"""A run that tells how many of its frames are on the disk, for tests that kill it: scenario file, trajectory file."""

import sys

import attndyn
from attndyn.data import trajectory
from attndyn.scenarios.run import run

trajectory.EVERY = 0.05


def told(method):
    """The method of a writer, after which the number of frames on the disk is printed."""

    def and_tell(self, *arguments, **options):
        before = self._slots
        result = method(self, *arguments, **options)
        kept = self._slots > before or method.__name__ == "_commit"
        if kept:
            print(len(self), flush=True)
        return result

    return and_tell


trajectory.TrajectoryWriter.keep = told(trajectory.TrajectoryWriter.keep)
trajectory.TrajectoryWriter._commit = told(trajectory.TrajectoryWriter._commit)

if __name__ == "__main__":
    if sys.argv[1] == "resume":
        attndyn.resume(sys.argv[2])
    else:
        run(sys.argv[1], out=sys.argv[2])
