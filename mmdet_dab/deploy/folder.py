"""Many images and videos through a detector."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Protocol

import numpy as np

from mmdet_dab.console import Progress
from mmdet_dab.deploy.detections import Detections
from mmdet_dab.deploy.preprocessing import read_image
from mmdet_dab.deploy.results import Item, Writer
from mmdet_dab.deploy.video import Video, check_codec
from mmdet_dab.errors import DataError, plural
from mmdet_dab.media_files import MediaFile


class Detector(Protocol):
    """What finds objects: an exported file or a checkpoint."""

    def batch(self, images: Sequence[np.ndarray], threshold: float | None = None) -> list[Detections]:
        """Images (H, W, 3) uint8 BGR -> what is in each of them."""


class Run:
    """Detects in files, and hands what was found to writers.

    What cannot be read is said on stderr, and the others are done.

    Args:
        detector: finds the objects.
        writers: get every image and frame.
        threshold: lowest score that writers get; None: that of the detector.
        batch_size: images in one forward pass.

    Attributes:
        images, videos: how many were done.
        errors: how many could not be read, or not to their end.
    """

    def __init__(
        self, detector: Detector, writers: Sequence[Writer], threshold: float | None = None, batch_size: int = 1
    ) -> None:
        self.detector, self.writers = detector, writers
        self.threshold, self.batch_size = threshold, batch_size
        self.images = self.videos = self.errors = 0
        self.progress = Progress(0, 'files')

    def __call__(self, files: Sequence[MediaFile]) -> int:
        """Do all files.

        Returns:
            the exit code: 1 where something could not be read, else 0.
        """
        total, noun = len(files), 'files'
        if any(file.is_video for file in files):
            total, noun = sum(_frames(file) for file in files), 'frames'
        self.progress = progress = Progress(total, noun)
        done = 0
        with ExitStack() as closing:
            for writer in self.writers:
                closing.callback(writer.close)
            closing.callback(progress.close)
            items = self.items(files)
            while batch := list(islice(items, self.batch_size)):
                for item, found in zip(batch, self.detect(batch), strict=True):
                    if found is not None:
                        self.images += item.frame is None
                        for writer in self.writers:
                            writer.add(item, found)
                done += len(batch)
                progress(done)
        return 1 if self.errors else 0

    def summary(self) -> str:
        """What was done, and where it is written."""
        counts = [(self.images, 'image'), (self.videos, 'video')]
        done = ' and '.join(plural(count, noun) for count, noun in counts if count) or 'nothing'
        return f'{done} → {", ".join(str(writer.path) for writer in self.writers)}'

    def items(self, files: Sequence[MediaFile]) -> Iterator[Item]:
        """Images, and frames of videos, as far as they can be read."""
        for file in files:
            try:
                if file.is_video:
                    video = Video(file.path)
                    self.videos += 1
                    for number, _, image in video:
                        yield Item(file.name, image, number, video.frames_per_second)
                else:
                    yield Item(file.name, read_image(file.path))
            except DataError as error:
                self.complain(error)

    def detect(self, batch: Sequence[Item]) -> list[Detections | None]:
        """What is in a batch; None for an image that the detector refuses."""
        try:
            return list(self.detector.batch([item.image for item in batch], self.threshold))
        except DataError as error:
            if len(batch) > 1:
                return [found for item in batch for found in self.detect([item])]
            self.complain(DataError(f'{batch[0].name}: {error}'))
            return [None]

    def complain(self, error: DataError) -> None:
        """Say what is wrong with a file, and go on."""
        self.errors += 1
        self.progress.close()
        print(f'error: {error}', file=sys.stderr)


def refuse_codec(files: Sequence[MediaFile], codec: str) -> None:
    """Refuse a codec that cannot be written, where there is a video to write.

    Raises:
        UserError: names it.
    """
    if any(file.is_video for file in files):
        check_codec(codec)


def _frames(file: MediaFile) -> int:
    """How many a file has; one that cannot be read is named later."""
    if not file.is_video:
        return 1
    try:
        return Video(file.path).promised
    except DataError:
        return 1
