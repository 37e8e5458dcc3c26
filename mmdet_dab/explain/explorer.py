"""One offline page in which a reader looks at what the queries of one or two detectors see.

Built with what browsers bring: canvas, SVG and one script, no library. A plotting library (Plotly:
4.7 MB) would take more than half of the page's budget for two line charts, and draws neither maps
over an image nor anchors. Everything a page needs is in its file; nothing is loaded.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from mmdet_dab.data.images import load_image
from mmdet_dab.errors import UserError, plural
from mmdet_dab.explain.ground_truth import Objects
from mmdet_dab.explain.packing import Block
from mmdet_dab.explain.page_data import best_queries, escaped, model_data, run_data
from mmdet_dab.explain.recording import Recording, record
from mmdet_dab.media_files import told_apart
from mmdet_dab.version import __version__

#: Most bytes of a page.
BUDGET = 8_000_000
#: Queries of an image that are kept, at most.
MOST_QUERIES = 24
#: Longest side of an image on the page, in pixels, and the sides that are tried next.
SIDES = (1280, 960, 640)
#: Files of the script, in the order in which they need one another.
SCRIPTS = ('data.js', 'formula.js', 'maps.js', 'state.js', 'side.js', 'app.js')


@dataclass(frozen=True)
class Detector:
    """A detector and what the page calls it.

    Attributes:
        model: as :func:`mmdet_dab.config.build` gives it.
        name: for its heading.
    """

    model: Any
    name: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes."""
        return tuple((getattr(self.model, 'dataset_meta', None) or {}).get('classes') or ())


@dataclass(frozen=True)
class Page:
    """A page that was made.

    Attributes:
        text: HTML.
        messages: what was left out or made smaller, in words.
    """

    text: str
    messages: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """A recording, and those of its queries that detect."""

    recording: Recording
    shown: Sequence[int]


@dataclass(frozen=True)
class _Material:
    """What a page is made of, whatever its size.

    Attributes:
        seen: for each detector, what it saw in each image.
        images: their files.
        loaded: the images themselves.
        ground_truth: objects by image, or None.
        threshold: score from which on a query counts as a detection.
    """

    detectors: Sequence[Detector]
    seen: Sequence[Sequence[_Seen]]
    images: Sequence[str | Path]
    loaded: Sequence[Image.Image]
    ground_truth: Mapping[str, Objects] | None
    threshold: float

    def page(self, count: int, side: int) -> str:
        """The page with at most ``count`` queries of an image and images of ``side`` pixels."""
        block = Block()
        models = [
            model_data(detector.model, detector.name, row[0].recording, block)
            for detector, row in zip(self.detectors, self.seen, strict=True)
        ]
        runs = [
            [_run(one, count, block, bool(model['masks']), self.threshold) for one in row]
            for model, row in zip(models, self.seen, strict=True)
        ]
        content = dict(
            models=models,
            images=[
                _image(name, image, None if self.ground_truth is None else self.ground_truth[str(path)], side)
                for name, path, image in zip(told_apart(self.images), self.images, self.loaded, strict=True)
            ],
            runs=runs,
            threshold=self.threshold,
            colours=(matplotlib.colormaps['viridis'](np.arange(256))[:, :3] * 255).round().astype(int).tolist(),
            about=f'Made by mmdet_dab {__version__}. Boxes: Okabe–Ito; maps: viridis. '
            'Nothing is loaded from a network.',
            block=block.text(),
        )
        return _filled(escaped(json.dumps(content, ensure_ascii=False, separators=(',', ':'), allow_nan=False)))


def explore(
    detectors: Sequence[Detector],
    images: Sequence[str | Path],
    ground_truth: Mapping[str, Objects] | None = None,
    source: Path | None = None,
    queries: Sequence[int] | None = None,
    threshold: float = 0.3,
    budget: int = BUDGET,
    tell: Callable[[str], None] = lambda text: None,
) -> Page:
    """Record images and make the page.

    Args:
        detectors: one, or two to be compared.
        images: files.
        ground_truth: objects by image, or None.
        source: where the ground truth comes from, for messages.
        queries: numbers of the queries that are kept; None: those that detect, those that are
            matched, and the next best.
        threshold: score from which on a query counts as a detection.
        budget: most bytes of the page.
        tell: is told what is being done.

    Raises:
        UserError: see :func:`~mmdet_dab.explain.recording.record`; a page that would be too large.
    """
    loaded = [load_image(Path(image)) for image in images]
    least = sum(len(_jpeg(image, SIDES[-1])) for image in loaded)
    if least > budget:
        raise UserError(
            f'{plural(len(images), "image")}: their pixels alone take {least / 1e6:.1f} MB, and a page may take '
            f'{budget / 1e6:g} MB: name fewer'
        )
    seen: list[list[_Seen]] = [[] for _ in detectors]
    for number, image in enumerate(images, start=1):
        for detector, row in zip(detectors, seen, strict=True):
            tell(f'{image} ({number} of {len(images)}): {detector.name}')
            objects = None if ground_truth is None else ground_truth[str(image)]
            try:
                row.append(_record(detector, image, objects, source, queries, threshold))
            except UserError as error:
                if len(detectors) == 1:
                    raise
                raise type(error)(f'{detector.name}: {error}') from error
    return _fitted(_Material(detectors, seen, images, loaded, ground_truth, threshold), budget)


def _record(
    detector: Detector,
    image: str | Path,
    objects: Objects | None,
    source: Path | None,
    queries: Sequence[int] | None,
    threshold: float,
) -> _Seen:
    instances = None if objects is None else objects.instances(detector.classes, source or Path('ground truth'))

    def choose(answers: Any) -> Sequence[int]:
        if queries is not None:
            return queries
        return best_queries(answers.scores, answers.matched, threshold, MOST_QUERIES)[0]

    recording = record(detector.model, image, choose, ground_truth=instances)
    best = recording.scores[-1].max(-1).values
    return _Seen(recording, [query for query in recording.queries.tolist() if best[query] >= threshold])


def _fitted(material: _Material, budget: int) -> Page:
    """The page with as many queries and pixels as its budget holds."""
    most = count = max(len(one.recording.queries) for row in material.seen for one in row)
    largest = max(max(image.size) for image in material.loaded)
    messages: list[str] = []
    side, *smaller = [size for size in SIDES if size <= largest] or [SIDES[-1]]
    while True:
        page = material.page(count, side)
        size = len(page.encode())
        if size <= budget:
            break
        # What does not shrink with the queries is images and projections.
        fixed = len(material.page(1, side).encode())
        if fixed > budget:
            if not smaller:
                raise UserError(
                    f'the page takes {fixed / 1e6:.1f} MB with one query of each image, and may take '
                    f'{budget / 1e6:g} MB: name fewer images, compare no second detector, or resize images to less '
                    'in the test pipeline (--cfg-options)'
                )
            side = smaller.pop(0)
            continue
        count = max(1, min(count - 1, int(1 + (count - 1) * (budget - fixed) / (size - fixed) * 0.98)))
    if largest > side:
        messages.append(f'images are shown with {side} instead of {largest} pixels, so that the page stays small')
    if count < most:
        messages.append(
            f'the page keeps {plural(count, "query", "queries")} of an image instead of {most}, to stay below '
            f'{budget / 1e6:g} MB'
        )
    return Page(page, tuple(messages))


def _jpeg(image: Image.Image, side: int) -> str:
    """An address that holds the image itself, its longest side at most ``side`` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, 'JPEG', quality=86)
    return 'data:image/jpeg;base64,' + base64.b64encode(file.getvalue()).decode('ascii')


def _run(seen: _Seen, count: int, block: Block, masked: bool, threshold: float) -> dict[str, Any]:
    data = run_data(seen.recording, seen.shown, count, block, masked)
    if not seen.shown:
        data['note'] = f'No query scores {threshold:g} or more here: these are the best ones.'
    return data


def _image(name: str, image: Image.Image, objects: Objects | None, side: int) -> dict[str, Any]:
    found = None
    if objects is not None:
        size = np.array([image.width, image.height] * 2, float)
        low, high = objects.boxes[:, :2] / size[:2], objects.boxes[:, 2:] / size[:2]
        boxes = np.concatenate(((low + high) / 2, high - low), axis=1).round(6).tolist()
        found = [dict(box=box, name=name) for box, name in zip(boxes, objects.names, strict=True)]
    return dict(
        name=name,
        jpeg=_jpeg(image, side),
        objects=found,
    )


def _filled(data: str) -> str:
    """The template with its style, its script and the data."""
    script = ''.join(_file(name) for name in SCRIPTS)
    script = f"'use strict';\n{script}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')
    # Only this script runs, whatever the data hold, and nothing is fetched.
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    parts = dict(policy=policy, style=_file('page.css'), script=script, data=data)
    before, *rest = _file('page.html').split('{{')
    return before + ''.join(parts[name] + after for name, after in (piece.split('}}', maxsplit=1) for piece in rest))


@cache
def _file(name: str) -> str:
    return resources.files('mmdet_dab.explain').joinpath('page').joinpath(name).read_text(encoding='utf-8')
