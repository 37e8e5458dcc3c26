"""The images that a training run is fed, drawn as the model gets them."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

from mmdet_dab.data.drawing import draw_box, draw_name, new_figure, save_figure
from mmdet_dab.data.palette import COLOURS, palette
from mmdet_dab.data.report import printable
from mmdet_dab.errors import DataError, plural

COLUMNS = 3
#: Of an image on the sheet, in inches.
WIDTH = 2.6
#: Images on the sheet, at most; the others have files of their own only.
MOST_ON_SHEET = 64
#: With more objects on an image their names would hide it; the colours tell.
MOST_NAMES = 20
#: The longer side of a single image, in pixels, at least: small ones are enlarged.
SIDE = 640


@dataclass(frozen=True)
class FedImage:
    """An image as the model gets it, with the normalisation undone.

    Attributes:
        name: of its file, or its id.
        canvas: (H, W, 3) uint8, RGB: the image with the padding of its batch.
        size: (height, width) of the image without padding.
        boxes: (T, 4) x1 y1 x2 y2 in pixels of the canvas.
        labels: (T,) classes of the objects.
        ignored: (I, 4), boxes that are not trained on, such as crowds.
        classes: names, by label.
    """

    name: str
    canvas: np.ndarray
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    classes: Sequence[str]

    @property
    def stem(self) -> str:
        """Of its name, as a part of a file name."""
        return re.sub(r'[^\w.-]+', '_', Path(self.name).stem) or 'image'


def fed_images(cfg: Config, split: str, number: int, seed: int = 0) -> Iterator[FedImage]:
    """The first images that the data loader of a split hands to the model.

    Args:
        cfg: a config whose parts are registered.
        split: ``'train'``, ``'val'`` or ``'test'``; only the first is augmented.
        number: images, at most; fewer where the dataset has fewer.
        seed: of the order and the augmentation.

    Raises:
        DataError: the loader gives no image.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    set_random_seed(seed)
    loader_cfg = copy.deepcopy(cfg[f'{split}_dataloader'])
    loader_cfg['num_workers'] = 0
    for key in ('persistent_workers', 'prefetch_factor', 'pin_memory'):
        loader_cfg.pop(key, None)  # they belong to workers
    try:
        loader = Runner.build_dataloader(loader_cfg, seed=seed)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'config {cfg.filename}: {split}_dataloader cannot be built: {error}. '
            '`mmdet-dab train CONFIG --check-only` says what is wrong with annotations'
        ) from error
    preprocess = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    preprocessor: Any = MODELS.build(preprocess) if preprocess else None
    classes = (getattr(loader.dataset, 'metainfo', None) or {}).get('classes') or ()
    scaled = not _boxes_follow_the_image(loader_cfg['dataset'])
    count = 0
    for batch in loader:
        for image in _images_of(batch, preprocessor, split == 'train', classes, scaled):
            yield image
            count += 1
            if count == number:
                return
    if not count:
        raise DataError(f'{split}_dataloader gives no image: its dataset is empty')


def _images_of(
    batch: Mapping[str, Any], preprocessor: Any, training: bool, classes: Sequence[str], scaled: bool
) -> Iterator[FedImage]:
    data = batch if preprocessor is None else preprocessor(dict(batch), training)
    for inputs, sample in zip(data['inputs'], data['data_samples'], strict=True):
        truth, ignored = sample.get('gt_instances'), sample.get('ignored_instances')
        factor = np.tile(sample.metainfo.get('scale_factor', (1, 1)), 2) if scaled else 1
        name = sample.metainfo.get('img_path') or f'image {sample.metainfo.get("img_id", "")}'.strip()
        yield FedImage(
            printable(Path(str(name)).name),
            _pixels(inputs, preprocessor),
            _image_size(sample, inputs),
            _boxes(truth) * factor,
            np.zeros(0, int) if truth is None else truth.labels.cpu().numpy(),
            _boxes(ignored) * factor,
            classes,
        )


def _image_size(sample: DetDataSample, inputs: Tensor) -> tuple[int, int]:
    height, width = sample.metainfo.get('img_shape', inputs.shape[-2:])[:2]
    return int(height), int(width)


def _boxes(instances: Any) -> np.ndarray:
    if instances is None or not len(instances):
        return np.zeros((0, 4))
    return get_box_tensor(instances.bboxes).cpu().numpy()


def _pixels(inputs: Tensor, preprocessor: Any) -> np.ndarray:
    """(3, H, W) as the model gets it -> (H, W, 3) uint8, RGB. Files are read as BGR."""
    image = inputs.float().cpu()
    turned = getattr(preprocessor, '_channel_conversion', False)
    if getattr(preprocessor, '_enable_normalize', False):
        image = image * preprocessor.std.cpu() + preprocessor.mean.cpu()
    pixels = image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    pixels = pixels if turned else pixels[..., ::-1]
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _boxes_follow_the_image(dataset: Mapping[str, Any]) -> bool:
    """Whether the pipeline resizes boxes along with images.

    mmdet's validation pipelines load the boxes after that, so that they fit the file.
    """
    pipeline = dataset.get('pipeline') or []
    types = [str(step.get('type')) for step in pipeline]
    loaded = next((place for place, name in enumerate(types) if 'LoadAnnotations' in name), 0)
    return not any('Resize' in name for name in types[:loaded])


# --- Drawing


def draw_image(path: Path, image: FedImage) -> None:
    """Draw one image, with names; its suffix says the format."""
    height, width = image.canvas.shape[:2]
    factor = max(1.0, SIDE / max(height, width)) / 100
    figure, cells = new_figure(1, 1, (width * factor, height * factor + 0.3))
    _draw(cells[0, 0], image, 9)
    save_figure(figure, path)


def draw_sheet(path: Path, images: Sequence[FedImage]) -> None:
    """Draw the first images together."""
    images = images[:MOST_ON_SHEET]
    columns = min(COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    ratio = float(np.clip(np.median([image.canvas.shape[0] / image.canvas.shape[1] for image in images]), 0.2, 5))
    figure, cells = new_figure(rows, columns, (WIDTH * columns, (WIDTH * ratio + 0.3) * rows))
    for cell in cells.flat:
        cell.axis('off')
    for cell, image in zip(cells.flat, images, strict=False):
        _draw(cell, image, 7)
    save_figure(figure, path, 140)


def _draw(axes: Axes, image: FedImage, size: float) -> None:
    """The canvas, its padding hatched, the boxes with names, and a title."""
    axes.axis('off')
    canvas_height, canvas_width = image.canvas.shape[:2]
    axes.imshow(image.canvas, interpolation='nearest', extent=(0, canvas_width, canvas_height, 0))
    height, width = image.size
    if (height, width) != (canvas_height, canvas_width):
        outline = [(width, 0), (canvas_width, 0), (canvas_width, canvas_height), (0, canvas_height), (0, height)]
        axes.add_patch(
            Polygon([*outline, (width, height)], facecolor='#888888', edgecolor='white', hatch='//', linewidth=0)
        )
    colours = [tuple(channel / 255 for channel in colour) for colour in palette(len(image.classes))]
    for box in image.ignored:
        draw_box(axes, _corner_and_size(box), '#888888', '--')
    for box, label in zip(image.boxes, image.labels.tolist(), strict=True):
        known = label < len(image.classes)
        colour = colours[label] if known else (0.3, 0.3, 0.3)
        draw_box(axes, _corner_and_size(box), colour)
        if len(image.labels) <= MOST_NAMES or len(image.classes) > len(COLOURS):
            name = image.classes[label] if known else f'class {label}'
            draw_name(axes, name, _corner_and_size(box), colour, canvas_height, size)
    axes.set_xlim(0, canvas_width)
    axes.set_ylim(canvas_height, 0)
    title = f'{image.name}, {width}×{height}, {plural(len(image.labels), "object")}'
    axes.set_title(title, fontsize=size, parse_math=False)


def _corner_and_size(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2 - x1, y2 - y1
