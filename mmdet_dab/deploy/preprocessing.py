"""From an image to the input of an exported detector: what the config's test pipeline does, in
numpy.

Equal to mmdet's pipeline where OpenCV is installed. With Pillow alone, JPEG decoders and the
rounding of the resize may differ by a level of 255.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmdet_dab.data.encoded import damage_in
from mmdet_dab.deploy.metadata import Metadata
from mmdet_dab.errors import DataError
from mmdet_dab.regular_files import MOST_PIXELS, check_file

try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]


class Batch(NamedTuple):
    """The input of an exported detector.

    Attributes:
        images: (B, 3, H, W) float32 or uint8, padded right and below.
        valid_sizes: (B, 2) int64, height and width of each image without padding.
    """

    images: np.ndarray
    valid_sizes: np.ndarray


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 BGR, turned upright by its EXIF orientation, as mmdet reads it.

    Raises:
        DataError: the file is missing, or is no image; names the file.
    """
    check_file(path, '', DataError)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}).') from error
    damage = damage_in(data)
    if damage:
        raise DataError(f'{path} {damage}: copy it again.')
    if _claims_too_much(data):
        raise DataError(f'{path}: more than {MOST_PIXELS:,} pixels. Cut it into tiles.')
    image = _decode(data)
    if image is None:
        raise DataError(f'{path}: not an image, or a damaged one.')
    return image


def _claims_too_much(data: bytes) -> bool:
    """Whether a header claims more pixels than there should be memory for; Pillow reads it."""
    try:
        from PIL import Image
    except ImportError:
        return False
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.width * opened.height > MOST_PIXELS
    except Image.DecompressionBombError:
        return True
    except Exception:  # it has many for what is no image, which the decoder says
        return False


def _decode(data: bytes) -> np.ndarray | None:
    """The pixels of an encoded image, or None."""
    if not data:
        return None
    if cv2 is not None:
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            return None
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert('RGB'))[..., ::-1].copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def as_image(array: np.ndarray) -> np.ndarray:
    """An array (H, W, 3), (H, W, 1) or (H, W) uint8, BGR or grey, as (H, W, 3) uint8.

    Raises:
        DataError: it is none of them.
    """
    image = np.asarray(array)
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise DataError(
            f'an image is an array (height, width, 3) or (height, width) of uint8, but got {image.dtype} {image.shape}.'
        )
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def target_size(height: int, width: int, metadata: Metadata) -> tuple[int, int]:
    """Height and width after resizing; that of ``keep ratio`` is rounded as mmcv rounds it."""
    if metadata.resize == 'none':
        return height, width
    long_edge, short_edge = max(metadata.scale), min(metadata.scale)
    if metadata.resize == 'stretch':
        return metadata.scale[1], metadata.scale[0]
    factor = min(long_edge / max(height, width), short_edge / min(height, width))
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3) uint8, bilinear between the pixel centres."""
    if image.shape[:2] == (height, width):
        return image
    if cv2 is not None:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, row_weights = _neighbours(image.shape[0], height)
    columns, column_weights = _neighbours(image.shape[1], width)
    # Fixed point with 11 bits, as OpenCV computes it.
    wide = image[:, columns].astype(np.int32)
    mixed = (wide * column_weights[None, :, :, None]).sum(2)
    tall = (mixed[rows] * row_weights[:, :, None, None]).sum(1)
    return ((tall + (1 << 21)) >> 22).clip(0, 255).astype(np.uint8)


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (new, 2) of the two pixels between which each new one lies, and weights in 1/2048."""
    place = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(place).astype(int)
    second_weight = np.rint((place - first) * 2048).astype(np.int32)
    indices = np.stack((first, first + 1), axis=1).clip(0, old - 1)
    return indices, np.stack((2048 - second_weight, second_weight), axis=1)


def prepare(images: Sequence[np.ndarray], metadata: Metadata) -> Batch:
    """Resize, normalise (unless the file does it) and pad.

    Args:
        images: (H, W, 3) uint8 BGR, each of its own size.
        metadata: of the exported file.
    """
    sizes = [target_size(image.shape[0], image.shape[1], metadata) for image in images]
    small = [resized(image, *size) for image, size in zip(images, sizes, strict=True)]
    valid = np.array([image.shape[:2] for image in small], dtype=np.int64)
    divisor = metadata.pad_divisor
    height, width = (-(-valid.max(axis=0) // divisor) * divisor).tolist()
    kind = np.uint8 if metadata.input == 'uint8' else np.float32
    batch = np.zeros((len(small), 3, height, width), dtype=kind)
    for row, image in zip(batch, small, strict=True):
        row[:, : image.shape[0], : image.shape[1]] = _channels(image, metadata)
    return Batch(batch, valid)


def _channels(image: np.ndarray, metadata: Metadata) -> np.ndarray:
    """(H, W, 3) BGR -> (3, H, W) in the model's order; normalised for a file that takes float32."""
    ordered = image[..., ::-1] if metadata.channels == 'rgb' else image
    planes = ordered.transpose(2, 0, 1)
    if metadata.input == 'uint8':
        return planes
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (metadata.mean, metadata.std))
    return (planes.astype(np.float32) - mean) / std
