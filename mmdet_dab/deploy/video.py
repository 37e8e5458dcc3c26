"""Videos, read and written by OpenCV."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mmdet_dab.errors import DataError, InstallError, UserError

#: Containers that store how many frames they have; that of others is an estimate.
COUNTED = ('.mp4', '.m4v', '.mov', '.avi')
#: Of a video that does not say how fast it is.
FRAMES_PER_SECOND = 25.0


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: from 0 on.
        seconds: from the start.
        image: (H, W, 3) uint8 BGR.
    """

    number: int
    seconds: float
    image: np.ndarray


def opencv() -> ModuleType:
    """OpenCV.

    Raises:
        InstallError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InstallError('videos need OpenCV: pip install opencv-python-headless') from error
    return cv2


@contextmanager
def no_complaints() -> Iterator[None]:
    """Keep what OpenCV and FFmpeg write on the standard error of the process from it."""
    standard_error, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nowhere)


class Video:
    """A video file. It is closed when its last frame has been read.

    Args:
        path: the file.

    Attributes:
        frames_per_second: 25 where the file does not say.
        promised: frames that the file says it has; 0 where it does not.

    Raises:
        DataError: no frame of it can be read; names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        cv2 = opencv()
        if not os.access(path, os.R_OK):
            raise DataError(f'{path}: cannot be read. Check its name and permissions.')
        with no_complaints():
            self.capture = cv2.VideoCapture(str(path))
            opened, self.first = self.capture.read()
        if not opened:
            raise DataError(f'{path}: not a video that OpenCV can read, or a damaged one.')
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if 0 < rate <= 1000 else FRAMES_PER_SECOND
        self.promised = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, once.

        Raises:
            DataError: after the last frame that can be read, where the file has more.
        """
        read, number, image = True, 0, self.first
        while read:
            yield VideoFrame(number, number / self.frames_per_second, image)
            number += 1
            with no_complaints():
                read, image = self.capture.read()
        self.capture.release()
        if number < self.promised and self.path.suffix.lower() in COUNTED:
            raise DataError(
                f'{self.path}: {number:,} of {self.promised:,} frames can be read; the rest is damaged or cut off.'
            )


def check_codec(codec: str) -> None:
    """Refuse a codec before work starts.

    Args:
        codec: its four letters.

    Raises:
        UserError: OpenCV cannot write it.
    """
    with tempfile.TemporaryDirectory() as folder:
        writer = VideoWriter(Path(folder, 'try.mp4'), codec, FRAMES_PER_SECOND)
        try:
            writer.add(np.zeros((64, 64, 3), dtype=np.uint8))
            writer.close()
        except UserError as error:
            raise UserError(f'--codec {codec}: OpenCV cannot write it here. Take mp4v.') from error


class VideoWriter:
    """A video that is written frame by frame.

    Args:
        path: ends in ``.mp4``.
        codec: its four letters.
        frames_per_second: of the video.
    """

    def __init__(self, path: Path, codec: str, frames_per_second: float) -> None:
        self.path, self.codec, self.frames_per_second = path, codec, frames_per_second
        self.cv2 = opencv()
        self.writer: Any = None
        self.size, self.written = (0, 0), 0

    def add(self, image: np.ndarray) -> None:
        """Write (H, W, 3) uint8 BGR; all have the size of the first.

        Raises:
            UserError: the codec cannot be written here.
        """
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Codecs take even sizes only.
            self.size = (image.shape[1] // 2 * 2 or 2, image.shape[0] // 2 * 2 or 2)
            self.writer = self._open()
        if self.writer is None or not self.writer.isOpened():
            raise UserError(f'{self.path}: OpenCV cannot write the codec {self.codec} here. Take mp4v.')
        if (image.shape[1], image.shape[0]) != self.size:
            image = self.cv2.resize(image, self.size)
        self.writer.write(image)
        self.written += 1

    def _open(self) -> Any:
        """OpenCV's writer; None for what is no codec at all."""
        if len(self.codec) != 4 or not self.codec.isascii():
            return None
        code = self.cv2.VideoWriter.fourcc(*self.codec)
        with no_complaints():
            return self.cv2.VideoWriter(str(self.path), code, self.frames_per_second, self.size)

    def close(self) -> None:
        """Complete the file.

        Raises:
            UserError: it does not hold the frames that were written, as when the disk is full.
        """
        if self.writer is None:
            return
        with no_complaints():
            self.writer.release()
            found = int(self.cv2.VideoCapture(str(self.path)).get(self.cv2.CAP_PROP_FRAME_COUNT))
        if found < self.written:
            raise UserError(
                f'{self.path}: {found:,} of {self.written:,} frames were written with the codec {self.codec}. '
                'Free the disk, or take mp4v.'
            )
