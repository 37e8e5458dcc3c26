"""Ground truth and result files as a detector would write them, drawn from a seed.

Numbers come from ``RandomState``, whose stream NumPy keeps: figures of other programs are written
down for these files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

KINDS = ('miss', 'hit', 'moved', 'class', 'both', 'twice')


def annotated(seed: int, classes: int = 4, images: int = 30, absent: int = 0) -> dict[str, Any]:
    """Content of an annotation file with objects of all of COCO's sizes, and some crowds.

    Args:
        seed: of all of it.
        classes: their number.
        images: their number.
        absent: classes that no object has, the last ones.
    """
    random = np.random.RandomState(seed)
    content: dict[str, Any] = dict(
        images=[dict(id=7 + 3 * n, file_name=f'{n}.jpg', width=640, height=480) for n in range(images)],
        categories=[dict(id=2 + 5 * n, name=f'class {n}') for n in range(classes)],
        annotations=[],
    )
    for image in content['images']:
        for _ in range(random.randint(0, 9)):
            size = np.exp(random.uniform(np.log(12), np.log(200), 2))
            corner = random.random_sample(2) * (640 - size[0], 480 - size[1])
            box = [round(float(value), 2) for value in (*corner, *size)]
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image['id'],
                    category_id=content['categories'][random.randint(classes - absent)]['id'],
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=int(random.random_sample() < 0.05),
                )
            )
    return content


def disturbed(content: dict[str, Any], seed: int, false_alarms: int = 6) -> list[dict[str, Any]]:
    """Detections with every type of error: moved, of another class, twice, on nothing, missing.

    Args:
        content: of an annotation file.
        seed: of the disturbance.
        false_alarms: on nothing, added to each image.
    """
    random = np.random.RandomState(seed)
    categories = [category['id'] for category in content['categories']]
    found: list[dict[str, Any]] = []

    def add(image: int, category: int, box: np.ndarray, quality: float) -> None:
        score = float(np.clip(0.75 * quality + 0.25 * random.random_sample(), 0.001, 0.999))
        box = [round(float(value), 2) for value in np.maximum(box, (0, 0, 1, 1))]
        found.append(dict(image_id=image, category_id=category, bbox=box, score=round(score, 6)))

    def other() -> int:
        return categories[random.randint(len(categories))]

    for item in content['annotations']:
        image, category, box = item['image_id'], item['category_id'], np.array(item['bbox'], dtype=float)
        kind = KINDS[int(np.searchsorted((0.1, 0.6, 0.75, 0.85, 0.9), random.random_sample(), side='right'))]
        noise = (random.random_sample(4) - 0.5) * np.tile(box[2:], 2)
        if kind == 'hit':
            add(image, category, box + 0.2 * noise, 0.9)
        elif kind == 'moved':
            add(image, category, box + 1.2 * noise, 0.6)
        elif kind == 'class':
            add(image, other(), box + 0.2 * noise, 0.6)
        elif kind == 'both':
            add(image, other(), box + 1.2 * noise, 0.5)
        elif kind == 'twice':
            add(image, category, box + 0.1 * noise, 0.9)
            add(image, category, box + 0.25 * noise, 0.7)
    for image in content['images']:
        for _ in range(false_alarms):
            size = random.uniform(0.03, 0.4, 2) * (image['width'], image['height'])
            corner = random.random_sample(2) * (image['width'], image['height'])
            add(image['id'], other(), np.array([*corner, *size]), 0.5 * random.random_sample() ** 2)
    return found
