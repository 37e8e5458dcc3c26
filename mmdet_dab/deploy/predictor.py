"""Detections from an exported file: images in, boxes with names out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmdet_dab.deploy.backends import load_backend
from mmdet_dab.deploy.metadata import Metadata
from mmdet_dab.deploy.preprocessing import Batch, as_image, prepare, read_image
from mmdet_dab.errors import DataError, plural

ImageLike = str | Path | np.ndarray


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of the image.
        scores: (n,) float32 in 0..1.
        labels: (n,) int64, indices of classes.
        names: of the classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Those whose score is at least the threshold."""
        kept = self.scores >= threshold
        names = tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept], names)


class Predictor:
    """A detector from an exported file. Needs neither torch (but for ``.pt2``) nor mmdet.

    Args:
        path: a ``.onnx``, ``.xml`` or ``.pt2`` file of ``mmdet-dab export``.
        threads: of one run; None: all cores.
        trusted: load a ``.pt2`` file, which may run code; the other formats are data.

    Raises:
        UserError: the file cannot be used, or its runtime is not installed.

    Example:
        >>> predictor = Predictor('cells.onnx')
        >>> found = predictor('cells.jpg', threshold=0.3)
        >>> found.boxes, found.scores, found.names
    """

    def __init__(self, path: str | Path, threads: int | None = None, *, trusted: bool = False) -> None:
        self.backend = load_backend(path, threads, trusted=trusted)

    @property
    def metadata(self) -> Metadata:
        """What the file says of itself."""
        return self.backend.metadata

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], threshold: float | None = None
    ) -> Detections | list[Detections]:
        """Detect in one image, or in several as one batch.

        Args:
            images: a path, an array (H, W, 3) BGR or (H, W) uint8, or a list of these.
            threshold: score from which on a prediction is kept; None: that of the file.

        Returns:
            for one image its detections, for a list one each.

        Raises:
            DataError: an image cannot be read, which it names, or the file refuses their size.
        """
        if isinstance(images, (str, Path, np.ndarray)):
            return self.batch([images], threshold)[0]
        return self.batch(images, threshold)

    def batch(self, images: Sequence[ImageLike], threshold: float | None = None) -> list[Detections]:
        """Detections of several images, computed as one batch; see :meth:`__call__`."""
        if not images:
            return []
        arrays = [as_image(image) if isinstance(image, np.ndarray) else read_image(image) for image in images]
        scores, labels, boxes = self._run(prepare(arrays, self.metadata))
        least = self.metadata.threshold if threshold is None else threshold
        found = []
        for row, array in enumerate(arrays):
            height, width = array.shape[:2]
            size = np.array([width, height, width, height], dtype=np.float32)
            names = tuple(self.metadata.classes[label] for label in labels[row])
            found.append(Detections(boxes[row] * size, scores[row], labels[row], names).above(least))
        return found

    def _run(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the file on a batch.

        Raises:
            DataError: it refuses the size, or has no memory for it.
        """
        try:
            return self.backend.run(*batch)
        except Exception as error:  # the runtimes' errors share no base class
            number, _, height, width = batch.images.shape
            words = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise DataError(
                f'the file cannot run on {plural(number, "image")} of {width} × {height} pixels ({words}).'
            ) from error

    def stream(
        self, images: Sequence[ImageLike], batch_size: int = 1, threshold: float | None = None
    ) -> Iterator[Detections]:
        """Detections of many images, batch by batch."""
        for start in range(0, len(images), batch_size):
            yield from self.batch(images[start : start + batch_size], threshold)
