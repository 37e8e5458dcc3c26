"""Datasets to try ``new-data`` on, drawn in minutes.

``python -m benchmarks.other_data chess --out DIR``

``shapes``: 330 images of three shapes and sizes, with up to twelve drawn shapes of six classes.
``chess``: 400 photographs with up to eight chessmen of six classes set into them, in any colour, a
tenth to two fifths of the image in size. The photographs are parts of COCO's, or of others in
folders ``train2017`` and ``val2017``.

``DIR/train`` and ``DIR/val`` get ``images/`` and ``annotations.json`` each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image, ImageDraw, ImageFont

import mmdet_dab  # noqa: F401  makes mmdet importable without a compiled mmcv
from mmdet_dab import cli
from mmdet_dab.datasets.synthetic_shapes import SyntheticShapes, write_coco
from mmdet_dab.errors import UserError

SHAPES = (dict(image_size=(240, 320)), dict(image_size=(320, 240)), dict(image_size=(280, 280)))
#: Each is drawn as the outlined or the filled man.
CHESSMEN = {'king': '♔♚', 'queen': '♕♛', 'rook': '♖♜', 'bishop': '♗♝', 'knight': '♘♞', 'pawn': '♙♟'}
FONT = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
#: Men are set into a photograph without touching each other; so often a place is tried.
TRIES = 20


@dataclass(frozen=True)
class Man:
    """A chessman in its place: label, corner x and y, mask (H, W) of 0 to 1, colour."""

    label: int
    corner: tuple[int, int]
    mask: np.ndarray
    colour: np.ndarray

    @property
    def box(self) -> list[float]:
        x, y = self.corner
        height, width = self.mask.shape
        return [x, y, x + width, y + height]


def draw_shapes(num_images: int, seed: int) -> Iterator[dict[str, Any]]:
    """Images of :class:`SyntheticShapes`, wide, tall and square ones by turns, as it returns them."""
    kinds = [
        SyntheticShapes(num_images, seed=10 * seed + index, num_objects=(1, 12), object_size=(0.08, 0.4), **kind)
        for index, kind in enumerate(SHAPES)
    ]
    for index in range(num_images):
        yield kinds[index % len(kinds)][index]


def draw_chess(num_images: int, seed: int, photographs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Parts of photographs with one to eight chessmen; the same keys."""
    rng = np.random.default_rng(seed)
    for index in range(num_images):
        image = part_of(cv2.imread(str(photographs[index % len(photographs)])), rng)
        men: list[Man] = []
        for _ in range(rng.integers(1, 9)):
            place(men, image, rng)
        for man in men:
            x1, y1, x2, y2 = map(int, man.box)
            alpha = man.mask[..., None]
            image[y1:y2, x1:x2] = (1 - alpha) * image[y1:y2, x1:x2] + alpha * man.colour
        instances = [{'bbox': man.box, 'bbox_label': man.label} for man in men]
        height, width = image.shape[:2]
        yield dict(img=image, img_id=index, height=height, width=width, instances=instances)


def part_of(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of 60 % to all of each side, mirrored or not."""
    height, width = (int(side * rng.uniform(0.6, 1)) for side in image.shape[:2])
    y, x = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.shape, (height, width), strict=False))
    part = image[y : y + height, x : x + width]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def place(men: list[Man], image: np.ndarray, rng: np.random.Generator) -> None:
    """Set one more man where there is room, if there is."""
    height, width = image.shape[:2]
    label = int(rng.integers(len(CHESSMEN)))
    mask = draw_man(list(CHESSMEN.values())[label][rng.integers(2)], min(height, width), rng)
    room = (width - mask.shape[1], height - mask.shape[0])
    if min(room) < 0:
        return
    for _ in range(TRIES):
        corner = (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1)))
        man = Man(label, corner, mask, colour_against(image, corner, mask.shape, rng))
        if not any(touch(man.box, other.box) for other in men):
            men.append(man)
            return


def draw_man(letter: str, shorter_side: int, rng: np.random.Generator) -> np.ndarray:
    """Mask of a man, turned by up to 20 degrees and cut to what it covers."""
    size = shorter_side * float(np.exp(rng.uniform(np.log(0.1), np.log(0.4))))
    font = ImageFont.truetype(str(FONT), max(10, round(size / 0.75)))  # a man is three quarters as high as its font
    canvas = Image.new('L', (2 * int(font.size), 2 * int(font.size)))
    ImageDraw.Draw(canvas).text((font.size, font.size), letter, fill=255, font=font, anchor='mm')
    turned = canvas.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BICUBIC)
    return np.asarray(turned.crop(turned.getbbox()), np.float32) / 255


def colour_against(
    image: np.ndarray, corner: tuple[int, int], shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """A random colour (3) that can be told from the mean of what lies behind."""
    x, y = corner
    behind = image[y : y + shape[0], x : x + shape[1]].mean((0, 1))
    while True:
        colour = rng.uniform(0, 255, 3)
        if np.linalg.norm(colour - behind) > 110:
            return colour


def touch(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set', choices=('shapes', 'chess'))
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument(
        '--photographs',
        type=Path,
        default=Path('data/coco128'),
        metavar='DIR',
        help='with train2017/ and val2017/ in it',
    )
    args = parser.parse_args()
    for seed, part in enumerate(('train', 'val')):
        if args.set == 'shapes':
            total, classes = (240, 90)[seed], SyntheticShapes.METAINFO['classes']
            infos = draw_shapes(total, seed)
        else:
            total, classes = (300, 100)[seed], tuple(CHESSMEN)
            infos = draw_chess(total, seed, photographs_in(args.photographs / f'{part}2017'))
        write_coco(track_iter_progress((infos, total)), classes, args.out / part, suffix='.jpg')


def photographs_in(folder: Path) -> list[Path]:
    """All .jpg files, by name.

    Raises:
        UserError: there is none.
    """
    found = sorted(folder.glob('*.jpg'))
    if not found:
        raise UserError(f'no .jpg file in {folder}: name the folder around it with --photographs')
    return found


if __name__ == '__main__':
    sys.exit(cli.run(main))
