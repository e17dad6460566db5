"""Pictures into a file: .mp4 by ffmpeg, .gif and .webp by Pillow."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from ...errors import AttndynError, InvalidInput

MOST_HELD = 1 << 31  # bytes: Pillow holds the pictures of a .gif, one byte a pixel, until all are there
PALETTE_PICTURES = 8  # from which the colours of a .gif are taken
FASTEST_GIF = 50  # pictures per second: viewers show shorter ones slowly


Progress = Callable[[int, int], None]  # called with the pictures written, and all


class Pictures(Protocol):
    """What is written: see `Scene`."""

    pictures: int
    width: int
    height: int

    def picture(self, number: int) -> NDArray[np.uint8]: ...


def default_suffix() -> str:
    """The kind of movie that can be had here: .mp4 where there is ffmpeg."""
    return ".mp4" if shutil.which("ffmpeg") else ".gif"


def check_encoder(path: Path, fps: int) -> None:
    """Raise InvalidInput unless a movie with the suffix of `path` can be written here at `fps` pictures per second."""
    suffix = path.suffix.lower()
    if suffix not in ENCODERS:
        raise InvalidInput(f"a movie is saved as one of {', '.join(SUFFIXES)}; got {str(path)!r}")
    if suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise InvalidInput(f"{path} needs ffmpeg, which is not on the PATH; a .gif or .webp is written without it")
    if suffix == ".webp" and not features.check("webp"):
        raise InvalidInput(
            f"{path}: Pillow has no WebP here; give a .gif{' or .mp4' if shutil.which('ffmpeg') else ''}"
        )
    if suffix == ".gif" and fps > FASTEST_GIF:
        raise InvalidInput(f"fps must be at most {FASTEST_GIF} in a .gif; got {fps}")


def write_mp4(path: Path, scene: Pictures, fps: int, progress: Progress) -> None:
    """H.264 by ffmpeg, to which the pictures are piped. Raises AttndynError with what ffmpeg says when it fails."""
    program = shutil.which("ffmpeg") or "ffmpeg"
    # two threads and bitexact: the same pictures give the same bytes on machines with any number of cores
    command = [
        program, "-y", "-nostdin", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{scene.width}x{scene.height}", "-r", str(fps), "-i", "pipe:0",
        "-vf", "scale=out_color_matrix=bt709:out_range=tv",
        "-c:v", "libx264", "-preset", "medium", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "2",
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
        "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1",
        "-movflags", "+faststart", "-f", "mp4", f"file:{path.resolve()}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        try:
            # in a session of its own Ctrl-C does not reach it, and what it was writing is ended here
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except OSError as error:
            raise AttndynError(f"{program} cannot be started: {error.strerror or error}") from error
        ended_early = False
        assert process.stdin is not None
        try:
            for number in range(scene.pictures):
                process.stdin.write(scene.picture(number).tobytes())
                progress(number + 1, scene.pictures)
            process.communicate()
        except BrokenPipeError:
            ended_early = True
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with contextlib.suppress(OSError):  # of what it did not take
                process.stdin.close()
        if process.returncode or ended_early or not path.is_file():
            raise AttndynError(_complaint(said, process.returncode))


def _complaint(said: IO[bytes], status: int) -> str:
    """What ffmpeg said when it failed, in one line."""
    said.seek(0)
    lines = [line.strip() for line in said.read(1 << 16).decode(errors="replace").splitlines() if line.strip()]
    if any("Unknown encoder" in line for line in lines):
        return "the ffmpeg on the PATH has no encoder libx264; a .gif or .webp is written without it"
    return f"ffmpeg failed with status {status}: {lines[0] if lines else 'it wrote no movie'}; .gif and .webp need none"


def write_gif(path: Path, scene: Pictures, fps: int, progress: Progress) -> None:
    """GIF with one palette for all pictures. Raises InvalidInput for more pictures than can be held."""
    size = scene.pictures * scene.width * scene.height
    if size > MOST_HELD:
        raise InvalidInput(
            f"{scene.pictures} pictures of {scene.width} x {scene.height} are {size / 1e9:.1f} GB in a .gif, at most "
            f"{MOST_HELD / 1e9:.1f} GB can be; take a smaller size, fewer seconds or fps, or a .mp4"
        )
    palette = _palette(scene)
    reel = _Reel(scene, progress, lambda image: image.quantize(palette=palette, dither=Image.Dither.NONE))
    # hundredths of a second, whose sum is right where each of them cannot be
    durations = 10 * _durations(scene.pictures, 100.0 / fps)
    with open(path, "w+b") as file:  # which Pillow would leave open when it is interrupted
        reel.save(file, "GIF", save_all=True, duration=durations.tolist(), loop=0, optimize=False)


def write_webp(path: Path, scene: Pictures, fps: int, progress: Progress) -> None:
    """Animated WebP."""
    durations = _durations(scene.pictures, 1000.0 / fps).tolist()
    reel = _Reel(scene, progress, lambda image: image)
    with open(path, "w+b") as file:
        reel.save(file, "WEBP", save_all=True, duration=durations, loop=0, quality=85, method=2)


def _durations(pictures: int, each: float) -> NDArray[np.int64]:
    """Whole numbers (pictures,) whose sum is, up to rounding, that of all."""
    return np.diff(np.round(np.arange(pictures + 1) * each)).astype(np.int64)


def _palette(scene: Pictures) -> Image.Image:
    """The 256 colours that some of the pictures need most."""
    numbers = np.unique(np.linspace(0, scene.pictures - 1, PALETTE_PICTURES).round().astype(int))
    rows = np.concatenate([scene.picture(int(number))[::2, ::2] for number in numbers])
    return Image.fromarray(rows).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


class _Reel(Image.Image):
    """The pictures as Pillow goes through an image of several: each is drawn when it is sought, and one is held."""

    def __init__(self, scene: Pictures, progress: Progress, made: Callable[[Image.Image], Image.Image]) -> None:
        super().__init__()
        self._scene, self._progress, self._made = scene, progress, made
        self.n_frames = scene.pictures
        self._number = self._furthest = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Make this the picture of that number. Raises EOFError beyond the last."""
        if frame >= self.n_frames:
            raise EOFError
        if frame != self._number:
            image: Any = self._made(Image.fromarray(self._scene.picture(frame)))
            self.im, self._mode, self._size, self.palette = image.im, image.mode, image.size, image.palette
            self._number = frame
            if frame > self._furthest:
                self._progress(frame + 1, self.n_frames)
            self._furthest = max(frame, self._furthest)

    def tell(self) -> int:
        """The number of the picture that this is."""
        return self._number


ENCODERS: dict[str, Callable[[Path, Pictures, int, Progress], None]] = {
    ".mp4": write_mp4,
    ".gif": write_gif,
    ".webp": write_webp,
}
SUFFIXES = tuple(ENCODERS)
