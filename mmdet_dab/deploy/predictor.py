"""Detections from an exported file: images in, boxes with names out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmdet_dab.deploy.backends import load_backend, reason
from mmdet_dab.deploy.detections import Detections
from mmdet_dab.deploy.metadata import Metadata
from mmdet_dab.deploy.preprocessing import Batch, as_image, prepare, read_image
from mmdet_dab.errors import DataError, plural

ImageLike = str | Path | np.ndarray


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
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.metadata.classes):
            raise DataError(f'the file predicts classes beyond the {len(self.metadata.classes)} that it names.')
        least = self.metadata.threshold if threshold is None else threshold
        found = []
        for row, array in enumerate(arrays):
            height, width = array.shape[:2]
            size = np.array([width, height, width, height], dtype=np.float32)
            names = tuple(self.metadata.classes[label] for label in labels[row])
            found.append(Detections(boxes[row] * size, scores[row], labels[row], names).above(least))
        return found

    def draw(self, image: ImageLike, found: Detections) -> np.ndarray:
        """An image with boxes, names and scores; needs Pillow.

        Args:
            image: a path or an array, as :meth:`__call__` takes it.
            found: in it.

        Returns:
            (H, W, 3) uint8 BGR, a new one.
        """
        from mmdet_dab.deploy.draw import draw  # Pillow takes a while to import

        array = as_image(image) if isinstance(image, np.ndarray) else read_image(image)
        return draw(array, found, self.metadata.palette)

    def _run(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the file on a batch.

        Raises:
            DataError: it refuses the size, or has no memory for it.
        """
        try:
            return self.backend.run(*batch)
        except Exception as error:  # the runtimes' errors share no base class
            number, _, height, width = batch.images.shape
            raise DataError(
                f'the file cannot run on {plural(number, "image")} of {width} × {height} pixels ({reason(error)}).'
            ) from error

    def stream(
        self, images: Sequence[ImageLike], batch_size: int = 1, threshold: float | None = None
    ) -> Iterator[Detections]:
        """Detections of many images, batch by batch."""
        for start in range(0, len(images), batch_size):
            yield from self.batch(images[start : start + batch_size], threshold)
