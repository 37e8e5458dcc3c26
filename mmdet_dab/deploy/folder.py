"""Many images through an exported detector: files in, images with boxes and one file of results
out."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmdet_dab.deploy.draw import draw, write_image
from mmdet_dab.deploy.predictor import Detections, Predictor
from mmdet_dab.deploy.preprocessing import read_image
from mmdet_dab.errors import DataError, UserError, plural

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        images: files, and folders that are searched with their sub-folders.
        out: folder to write to.
        threshold: lowest score; None: that of the exported file.
        batch_size: images in one run.
        format: ``'json'``, ``'csv'`` or ``'coco'``, of the results.
        draw: write the images with boxes as well.
    """

    images: Sequence[Path]
    out: Path
    threshold: float | None
    batch_size: int
    format: str
    draw: bool


def image_files(places: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Image files and their paths relative to the place that they were found in.

    Raises:
        UserError: a place does not exist, or there is no image at all.
    """
    found: list[tuple[Path, Path]] = []
    for place in places:
        if place.is_dir():
            inside = [Path(folder, name) for folder, _, names in os.walk(place) for name in names]
            images = sorted(path for path in inside if path.suffix.lower() in ENDINGS and path.is_file())
            found += [(path, path.relative_to(place)) for path in images if not path.name.startswith('._')]
        elif place.is_file():
            found.append((place, Path(place.name)))
        else:
            raise UserError(f'{place}: no such file or folder.')
    if not found:
        raise UserError(f'{", ".join(map(str, places))}: no image in it ({", ".join(ENDINGS)}).')
    return found


def run_folder(predictor: Predictor, job: Job) -> int:
    """Do the job; say what cannot be read.

    Returns:
        the exit code: 1 where an image could not be read, else 0.
    """
    files = image_files(job.images)
    job.out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[Path, tuple[int, int], Detections]] = []
    unread = 0
    started = time.monotonic()
    for batch in _batches(files, job.batch_size):
        readable = []
        for path, name in batch:
            try:
                readable.append((name, read_image(path)))
            except DataError as error:
                unread += 1
                print(f'error: {error}', file=sys.stderr)
        found = predictor.batch([image for _, image in readable], job.threshold)
        for (name, image), detections in zip(readable, found, strict=True):
            rows.append((name, image.shape[:2], detections))
            if job.draw:
                write_image(job.out / 'images' / name, draw(image, detections, predictor.metadata.palette))
        _progress(len(rows) + unread, len(files), started)
    results = WRITERS[job.format](job.out, rows)
    drawn = f', {job.out / "images"}' if job.draw else ''
    print(f'{plural(len(rows), "image")} → {results}{drawn}')
    return 1 if unread else 0


def _batches(files: list[tuple[Path, Path]], size: int) -> Iterator[list[tuple[Path, Path]]]:
    for start in range(0, len(files), size):
        yield files[start : start + size]


def _progress(done: int, total: int, started: float) -> None:
    """One line that is written over, with the time that is left."""
    left = (time.monotonic() - started) / done * (total - done)
    end = '\n' if done == total else '\r'
    print(f'{done} of {total}, {left:.0f} s left   ', end=end, file=sys.stderr, flush=True)


def write_json(folder: Path, rows: Sequence[tuple[Path, tuple[int, int], Detections]]) -> Path:
    """One list: file, size, and boxes x1 y1 x2 y2 in pixels."""
    path = folder / 'detections.json'
    content = [
        {
            'file': name.as_posix(),
            'height': height,
            'width': width,
            'boxes': found.boxes.astype(float).round(2).tolist(),
            'scores': found.scores.astype(float).round(6).tolist(),
            'labels': found.labels.tolist(),
            'names': list(found.names),
        }
        for name, (height, width), found in rows
    ]
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


def write_csv(folder: Path, rows: Sequence[tuple[Path, tuple[int, int], Detections]]) -> Path:
    """A line for every box."""
    path = folder / 'detections.csv'
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['file', 'name', 'label', 'score', 'x1', 'y1', 'x2', 'y2'])
        for name, _, found in rows:
            for box, score, label, text in zip(found.boxes, found.scores, found.labels, found.names, strict=True):
                writer.writerow([name.as_posix(), text, int(label), f'{score:.6f}', *(f'{part:.2f}' for part in box)])
    return path


def write_coco(folder: Path, rows: Sequence[tuple[Path, tuple[int, int], Detections]]) -> Path:
    """Results as COCO has them: image_id is the place in the list from 1 on, category_id the label
    from 1 on."""
    path = folder / 'detections.coco.json'
    results = []
    for number, (name, _, found) in enumerate(rows, start=1):
        corners = found.boxes
        boxes = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
        for box, score, label in zip(boxes, found.scores, found.labels, strict=True):
            results.append(
                {
                    'image_id': number,
                    'file_name': name.as_posix(),
                    'category_id': int(label) + 1,
                    'bbox': box.astype(float).round(2).tolist(),
                    'score': round(float(score), 6),
                }
            )
    path.write_text(json.dumps(results), encoding='utf-8')
    return path


WRITERS = {'json': write_json, 'csv': write_csv, 'coco': write_coco}
