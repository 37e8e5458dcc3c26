"""A detection dataset that is drawn instead of downloaded.

Two steps make an image, each with a random stream of its own: the layout says which shapes lie
where, the painting gives them colours, a background, clutter and noise. So boxes do not depend on
the latter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmdet.datasets import BaseDetDataset

from mmdet_dab.registry import DATASETS

#: Shapes are drawn at twice the resolution, for soft edges, with outlines on a grid of 8 steps per
#: drawn pixel. Boxes are those of the outlines on this grid, so that platforms agree on them.
OVERSAMPLING = 2
GRID_BITS = 3
GRID = 1 << GRID_BITS
STEPS_PER_PIXEL = OVERSAMPLING * GRID
#: Below this many pixels a star cannot be told from an ellipse.
SMALLEST_OBJECT = 8
SMALLEST_IMAGE = 32
#: The layout counts objects in a uint8.
MOST_OBJECTS = 255
#: Width to height of a shape before it is turned, at most.
LARGEST_STRETCH = 1.7
#: Places tried for an object before it is left out.
MAX_TRIES = 20
#: Distance in RGB (0 to 441) from what lies underneath that makes a colour clearly visible.
CLEAR_CONTRAST = 110.0
#: Standard deviation of a random byte.
BYTE_STD = math.sqrt((256**2 - 1) / 12)
LAYOUT_STREAM, PAINT_STREAM = 0, 1


def _polar(radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """A closed contour (n, 2) around the origin, of n radii at equal angles."""
    angles = 2 * math.pi * np.arange(len(radii)) / len(radii)
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.asarray(radii)[:, None]


def _class_outlines() -> dict[str, np.ndarray]:
    """Closed contours (contours, points, 2) of x and y; a second one is a hole in the first."""
    circle = _polar([1.0] * 32)
    arm = np.array([(-0.33, -1.0), (0.33, -1.0), (0.33, -0.33)])
    quarter_turn = np.array([(0, 1), (-1, 0)])
    arms = [arm @ np.linalg.matrix_power(quarter_turn, turns) for turns in range(4)]
    return {
        'ellipse': circle[None],
        'rectangle': np.array([[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]]),
        'triangle': _polar([1.0] * 3)[None],
        'star': _polar([1.0, 0.42] * 5)[None],
        'cross': np.concatenate(arms)[None],
        'ring': np.stack([circle, 0.55 * circle]),
    }


def _distractor_outlines() -> list[np.ndarray]:
    """Outlines as above, of things that are no objects: a bean, three leaves and half a disc."""
    angles = 2 * math.pi * np.arange(24) / 24
    bean = _polar(1 + 0.35 * np.cos(2 * angles) + 0.3 * np.cos(3 * angles + 1))
    leaves = _polar(1 + 0.4 * np.cos(3 * angles))
    half_disc = _polar([1.0] * 32)[:17]
    return [bean[None], leaves[None], half_disc[None]]


OUTLINES = _class_outlines()
DISTRACTORS = _distractor_outlines()
#: Weights of the three control points of a quadratic Bézier curve at 12 places along it.
BEZIER = np.array([((1 - t) ** 2, 2 * t * (1 - t), t**2) for t in np.linspace(0, 1, 12)])


@dataclass(frozen=True)
class Shape:
    """An outline in its place.

    Attributes:
        label: Index into the classes of the dataset.
        outline: Closed contours (contours, points, 2) int32 of x and y in sixteenths of a pixel,
            where pixel i reaches from i to i + 1; the first contour is the outer one, a second one
            is a hole.
        box: The tight box of the outline, [x1, y1, x2, y2] in pixels.
        window: Rows and columns of the drawing (at twice the resolution) that the box touches.
    """

    label: int
    outline: np.ndarray
    box: list[float]
    window: tuple[slice, slice]


@DATASETS.register_module()
class SyntheticShapes(BaseDetDataset):
    """Coloured shapes on cluttered, noisy backgrounds, drawn from a seed; no files are needed.

    ``seed`` and the index of an image alone determine it: a dataset of more images begins with
    those of a smaller one, and train and val differ by their seeds. Nothing is cached: an image of
    96 × 96 takes one or two milliseconds, and every worker would need a cache of its own.

    Every object lies wholly in the image; its box is the tight box of the whole shape, also where
    another object covers a corner of it.

    Args:
        num_images: Number of images, before ``filter_cfg`` and ``indices``.
        seed: Any integer from 0 on.
        image_size: Height and width in pixels.
        num_objects: Fewest and most objects that an image asks for, evenly distributed. An object
            that would hide another one finds no place and is left out, so a crowded image may hold
            fewer, but one at least if one is asked for.
        object_size: Smallest and largest longer side of a box, as fractions of the image's shorter
            side. Sizes are uniform in their logarithm.
        min_visible: Fraction of its area that every object shows of itself.
        clutter: An image has up to this many patches and up to this many thin curves that are no
            objects. Half of the curves run across the objects, all else lies behind them.
        noise: Standard deviation of the (uniform) pixel noise, in grey levels of 255.
        metainfo: ``dict(classes=(...))`` restricts the shapes to some of :attr:`METAINFO`'s
            classes; labels count in the given order.
        filter_cfg: ``dict(filter_empty_gt=True)`` drops images without objects (there are some if
            ``num_objects`` starts at 0), ``min_size`` those with a shorter side below it. As in
            mmdet's other datasets it has no effect with ``test_mode``.
        indices: As in :class:`mmengine.dataset.BaseDataset`; so are the others that follow.
        serialize_data: See there.
        pipeline: See there. It receives the image in ``img`` (uint8, (H, W, 3), BGR), so it starts
            with ``LoadImageFromNDArray``.
        test_mode: See there.
        lazy_init: See there.
        max_refetch: See there.

    Raises:
        ValueError: A parameter is out of its range, or the filter leaves no image.

    Examples:
        >>> import mmdet_dab
        >>> from mmdet.registry import DATASETS
        >>> meta_keys = 'img_id img_path ori_shape img_shape scale_factor flip instances'.split()
        >>> val = dict(
        ...     type='mmdet_dab.SyntheticShapes', num_images=200, seed=1, test_mode=True,
        ...     pipeline=[
        ...         dict(type='mmdet.LoadImageFromNDArray'),
        ...         dict(type='mmdet.Resize', scale=(96, 96)),
        ...         dict(type='mmdet.LoadAnnotations', with_bbox=True),
        ...         # CocoMetric without ann_file reads the ground truth from 'instances'.
        ...         dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)])
        >>> DATASETS.build(val)[0]['inputs'].shape
        torch.Size([3, 96, 96])
    """

    METAINFO = {
        'classes': tuple(OUTLINES),
        'palette': [(220, 20, 60), (0, 114, 189), (119, 172, 48), (237, 177, 32), (126, 47, 142), (0, 190, 190)],
    }

    def __init__(
        self,
        num_images: int,
        seed: int = 0,
        image_size: tuple[int, int] = (96, 96),
        num_objects: tuple[int, int] = (1, 6),
        object_size: tuple[float, float] = (0.16, 0.5),
        min_visible: float = 0.8,
        clutter: int = 2,
        noise: float = 6.0,
        metainfo: Mapping[str, Any] | None = None,
        filter_cfg: dict[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        _require_at_least('num_images', num_images, 1)
        _require_at_least('seed', seed, 0)
        _require_at_least('clutter', clutter, 0)
        _require_at_least('noise', noise, 0)
        if not 0 <= min_visible <= 1:
            raise ValueError(f'min_visible must be a fraction from 0 to 1, but is {min_visible}')
        self.num_images = num_images
        self.seed = seed
        self.image_size = _image_size(image_size)
        self.num_objects = _num_objects(num_objects)
        self.object_size = _object_size(object_size, min(self.image_size))
        self.min_visible = min_visible
        self.clutter = clutter
        self.noise = noise
        super().__init__(
            metainfo=metainfo,
            filter_cfg=filter_cfg,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Check the chosen classes, and let them keep their colours."""
        merged = super()._load_metainfo(metainfo)
        known, chosen = cls.METAINFO['classes'], tuple(merged['classes'])
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
            raise ValueError(f"metainfo['classes'] must be some of {known}, each once, but is {merged['classes']}")
        merged['classes'] = chosen
        if 'palette' not in (metainfo or {}):
            merged['palette'] = [cls.METAINFO['palette'][known.index(name)] for name in chosen]
        return merged

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images without drawing them."""
        height, width = self.image_size
        return [{'img_id': index, 'height': height, 'width': width} for index in range(self.num_images)]

    def filter_data(self) -> list[dict[str, Any]]:
        """Apply ``filter_cfg`` as mmdet's CocoDataset does."""
        if self.test_mode or self.filter_cfg is None:
            return self.data_list
        kept = self.data_list
        if min(self.image_size) < self.filter_cfg.get('min_size', 0):
            kept = []
        if self.filter_cfg.get('filter_empty_gt', False):
            kept = [info for info in kept if self.layout(info['img_id'])]
        if not kept:
            raise ValueError(f'filter_cfg={self.filter_cfg} leaves none of the {self.num_images} images')
        return kept

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Draw the image at ``idx``.

        Returns:
            ``img``, uint8 (H, W, 3); ``instances``, each with ``bbox`` ([x1, y1, x2, y2] in
            pixels), ``bbox_label`` and ``ignore_flag`` 0; ``img_id``, ``height``, ``width``,
            ``sample_idx``.
        """
        info = super().get_data_info(idx)
        shapes = self.layout(info['img_id'])
        info['img'] = self._paint(info['img_id'], shapes)
        info['instances'] = [{'bbox': shape.box, 'bbox_label': shape.label, 'ignore_flag': 0} for shape in shapes]
        return info

    def layout(self, img_id: int) -> list[Shape]:
        """The objects of image ``img_id``, from the hindmost to the foremost."""
        rng = np.random.default_rng([self.seed, img_id, LAYOUT_STREAM])
        outlines = [OUTLINES[name] for name in self._metainfo['classes']]
        fewest, most = self.num_objects
        height, width = self.image_size
        # The object seen at each drawn pixel; 0 is background, so objects count from 1.
        owner = np.zeros((height * OVERSAMPLING, width * OVERSAMPLING), np.uint8)
        shapes: list[Shape] = []
        needed, visible = [0.0], [owner.size]
        for _ in range(rng.integers(fewest, most + 1)):
            for _ in range(MAX_TRIES):
                shape = self._random_shape(rng, outlines)
                underneath, inside = owner[shape.window], _mask(shape)
                hidden = np.bincount(underneath[inside], minlength=len(visible)).tolist()
                left = [seen - lost for seen, lost in zip(visible, hidden, strict=True)]
                if all(seen >= need for seen, need in zip(left, needed, strict=True)):
                    area = int(np.count_nonzero(inside))
                    visible, needed = [*left, area], [*needed, self.min_visible * area]
                    shapes.append(shape)
                    underneath[inside] = len(shapes)
                    break
        return shapes

    def _random_shape(self, rng: np.random.Generator, outlines: Sequence[np.ndarray]) -> Shape:
        """Choose an outline, turn and stretch it, and place it so that its box is in the image."""
        choice, turn, stretch, size, x, y = rng.random(6).tolist()
        label = int(choice * len(outlines))
        sine, cosine = math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)
        stretch = LARGEST_STRETCH ** (stretch - 0.5)
        matrix = np.array([(cosine * stretch, sine * stretch), (-sine / stretch, cosine / stretch)])
        contours = outlines[label] @ matrix
        (left, top), (right, bottom) = contours[0].min(axis=0).tolist(), contours[0].max(axis=0).tolist()
        smallest, largest = self.object_size
        height, width = self.image_size
        long_side = min(height, width) * smallest * (largest / smallest) ** size
        scale = long_side / max(right - left, bottom - top)
        x *= width - (right - left) * scale
        y *= height - (bottom - top) * scale
        return _shape(label, _to_grid(contours * scale + (x - left * scale, y - top * scale)))

    def _paint(self, img_id: int, shapes: Sequence[Shape]) -> np.ndarray:
        """Paint background, clutter, shapes, more clutter and noise: uint8 (H, W, 3)."""
        rng = np.random.default_rng([self.seed, img_id, PAINT_STREAM])
        height, width = self.image_size
        canvas = _paint_background(rng, self.image_size)
        texture = _texture(rng, self.image_size, self.noise)
        num_blobs, num_curves = rng.integers(self.clutter + 1, size=2).tolist()
        for _ in range(num_blobs):
            _fill(canvas, self._random_shape(rng, DISTRACTORS).outline, _any_colour(rng))
        for _ in range(num_curves - num_curves // 2):
            _paint_curve(rng, canvas)
        for shape in shapes:
            _fill(canvas, shape.outline, _clear_colour(rng, canvas[shape.window]))
        for _ in range(num_curves // 2):
            _paint_curve(rng, canvas)
        image = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.add(image, texture, dtype=cv2.CV_8U)

    def export_coco(self, directory: str | Path) -> Path:
        """Write the images as PNG and the boxes as COCO json, for tools that want files.

        Category ids count from 1, in the order of the classes; image ids are those of the dataset.

        Args:
            directory: Made if missing. ``annotations.json`` and ``images/`` are written into it.

        Returns:
            The path of ``annotations.json``.

        Raises:
            FileExistsError: ``directory`` has something in it already; nothing is written then.
            OSError: A file cannot be written.
        """
        directory = Path(directory)
        if directory.exists() and any(directory.iterdir()):
            raise FileExistsError(f'{directory} is not empty: export_coco wants a new or an empty directory')
        return write_coco((self.get_data_info(idx) for idx in range(len(self))), self.metainfo['classes'], directory)


def write_coco(
    infos: Iterable[Mapping[str, Any]], classes: Sequence[str], directory: Path, suffix: str = '.png'
) -> Path:
    """Write drawn images, and their boxes as COCO json.

    Args:
        infos: as :meth:`SyntheticShapes.get_data_info` returns them.
        classes: their names, by label.
        directory: gets ``annotations.json`` and ``images/``.
        suffix: of the images' files, by which OpenCV chooses their format.

    Returns:
        The path of ``annotations.json``.
    """
    (directory / 'images').mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for info in infos:
        file_name = f'{info["img_id"]:06d}{suffix}'
        (directory / 'images' / file_name).write_bytes(cv2.imencode(suffix, info['img'])[1].tobytes())
        images.append({'id': info['img_id'], 'file_name': file_name, 'height': info['height'], 'width': info['width']})
        for instance in info['instances']:
            annotations.append(_coco_annotation(len(annotations) + 1, info['img_id'], instance))
    categories = [{'id': label, 'name': name} for label, name in enumerate(classes, start=1)]
    path = directory / 'annotations.json'
    path.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))
    return path


def _coco_annotation(annotation_id: int, img_id: int, instance: dict[str, Any]) -> dict[str, Any]:
    x1, y1, x2, y2 = instance['bbox']
    width, height = x2 - x1, y2 - y1
    return {
        'id': annotation_id,
        'image_id': img_id,
        'category_id': instance['bbox_label'] + 1,
        'bbox': [x1, y1, width, height],
        'area': width * height,
        'iscrowd': 0,
    }


def _to_grid(contours: np.ndarray) -> np.ndarray:
    """Pixels to whole steps of the grid."""
    return np.rint(contours * STEPS_PER_PIXEL).astype(np.int32)


def _shape(label: int, outline: np.ndarray) -> Shape:
    left, top, width, height = cv2.boundingRect(outline[0])
    # boundingRect counts whole steps, both ends included.
    right, bottom = left + width - 1, top + height - 1
    box = [step / STEPS_PER_PIXEL for step in (left, top, right, bottom)]
    window = slice(top // GRID, -(-bottom // GRID)), slice(left // GRID, -(-right // GRID))
    return Shape(label, outline, box, window)


def _fill(canvas: np.ndarray, outline: np.ndarray, colour: Sequence[float]) -> None:
    """Fill an outline; where it has a hole, the canvas stays."""
    # OpenCV's whole numbers are the centres of drawn pixels, ours are their corners.
    cv2.fillPoly(canvas, list(outline - GRID // 2), colour, cv2.LINE_8, GRID_BITS)


def _mask(shape: Shape) -> np.ndarray:
    """Where the shape is, within its window: bool."""
    rows, columns = shape.window
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    _fill(mask, shape.outline - np.array([columns.start, rows.start], np.int32) * GRID, [1])
    return mask.view(bool)


def _paint_background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Slowly changing colours: uint8, at twice the resolution."""
    height, width = image_size
    colours = rng.uniform(40, 215, 3) + rng.normal(0, 25, (5, 5, 3))
    coarse = np.rint(colours).clip(0, 255).astype(np.uint8)
    return cv2.resize(coarse, (width * OVERSAMPLING, height * OVERSAMPLING), interpolation=cv2.INTER_LINEAR)


def _texture(rng: np.random.Generator, image_size: tuple[int, int], noise: float) -> np.ndarray:
    """What is added to a finished drawing: grey mottles and pixel noise, float32 (H, W, 3)."""
    height, width = image_size
    greys = rng.normal(0, 10, (height // 5, width // 5, 1)).astype(np.float32).repeat(3, axis=2)
    mottles = cv2.resize(greys, (width, height), interpolation=cv2.INTER_LINEAR)
    grain = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    scale = noise / BYTE_STD
    return cv2.addWeighted(grain, scale, mottles, 1.0, -127.5 * scale, dtype=cv2.CV_32F)


def _any_colour(rng: np.random.Generator) -> list[float]:
    return (255 * rng.random(3)).tolist()


def _clear_colour(rng: np.random.Generator, underneath: np.ndarray) -> list[float]:
    """A random colour that stands out from what lies underneath."""
    mean = cv2.mean(underneath)[:3]
    while True:
        colour = _any_colour(rng)
        if math.dist(colour, mean) > CLEAR_CONTRAST:
            return colour


def _paint_curve(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """A curve, one or two pixels wide, anywhere."""
    height, width = canvas.shape[0] / OVERSAMPLING, canvas.shape[1] / OVERSAMPLING
    points = BEZIER @ (rng.random((3, 2)) * (width, height))
    thickness = OVERSAMPLING * int(rng.integers(1, 3))
    cv2.polylines(canvas, [_to_grid(points)], False, _any_colour(rng), thickness, cv2.LINE_8, GRID_BITS)


def _require_at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ValueError(f'{name} must be at least {least}, but is {value}')


def _image_size(value: Sequence[int]) -> tuple[int, int]:
    if not isinstance(value, Sequence) or len(value) != 2 or min(value) < SMALLEST_IMAGE:
        raise ValueError(f'image_size must be a height and a width of at least {SMALLEST_IMAGE} pixels, but is {value}')
    return value[0], value[1]


def _num_objects(value: Sequence[int]) -> tuple[int, int]:
    if not isinstance(value, Sequence) or len(value) != 2 or not 0 <= value[0] <= value[1] <= MOST_OBJECTS:
        raise ValueError(
            f'num_objects must be the fewest and the most objects, from 0 to {MOST_OBJECTS}, but is {value}'
        )
    return value[0], value[1]


def _object_size(value: Sequence[float], shorter_side: int) -> tuple[float, float]:
    if not isinstance(value, Sequence) or len(value) != 2 or not 0 < value[0] <= value[1] <= 1:
        raise ValueError(
            f'object_size must be a smallest and a largest fraction, 0 < smallest <= largest <= 1, but is {value}'
        )
    if value[0] * shorter_side < SMALLEST_OBJECT:
        raise ValueError(
            f'object_size starts at {value[0]}, which is {value[0] * shorter_side:.1f} of {shorter_side} pixels: '
            f'objects need at least {SMALLEST_OBJECT}'
        )
    return value[0], value[1]
