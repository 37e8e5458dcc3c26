"""Whether a recipe is enough for the data: queries, predictions, pixels for small objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import SYSTEMATIC
from mmdet_dab.data.checks.finding import Finding, Places, are
from mmdet_dab.data.recipe import Recipe
from mmdet_dab.errors import plural

#: Above this share of objects smaller than the stride, the AP will be low whatever is done.
MANY = 0.1
#: Predictions of an image that COCO's AP counts.
COUNTED_BY_COCO = 100


def check_queries(
    data: Annotations, classes: Sequence[str], num_queries: int, key: str = 'num_queries'
) -> list[Finding]:
    """More objects on an image than predictions: the rest can never be found."""
    counts = data.objects_per_image(classes)
    crowded = np.flatnonzero(counts > num_queries)
    if not len(crowded):
        return []
    worst = crowded[np.argsort(-counts[crowded], kind='stable')].tolist()
    what = f'{len(crowded):,} of {plural(len(counts), "image")} {"has" if len(crowded) == 1 else "have"} more objects '
    what += f'than {key}={num_queries}'
    fix = f'The rest can never be found: set {key} to {int(counts.max())} or more'
    stops = len(crowded) > max(1, SYSTEMATIC * len(counts))
    return [Finding(data.source, what, Places(worst, _counted(data, counts)), stops, fix)]


def check_recipe(data: Annotations, classes: Sequence[str], recipe: Recipe, stride: int) -> list[Finding]:
    """What the recipe cannot find; the data have no error otherwise.

    Args:
        data: one split.
        classes: by label.
        recipe: the numbers.
        stride: of the model's finest feature map, pixels.
    """
    findings = check_queries(data, classes, recipe.num_queries)
    counts = data.objects_per_image(classes)
    crowded = np.flatnonzero(counts > COUNTED_BY_COCO).tolist()
    if crowded:
        what = f'{plural(len(crowded), "image")} with more than {COUNTED_BY_COCO} objects'
        fix = "COCO's AP counts the best 100 predictions of an image, so that it cannot reach 1"
        findings.append(Finding(data.source, what, Places(crowded, _counted(data, counts)), fix=fix))
    valid = np.flatnonzero(data.counted & (data.image_index >= 0) & (data.labels(classes) >= 0))
    sides = data.boxes[valid, 2:] * recipe.resizing.factors(data.sizes[data.image_index[valid]])
    sides = np.sqrt(np.maximum(sides.prod(axis=1), 0))
    small = valid[sides < stride]
    if len(small) > MANY * len(valid):
        smallest = small[np.argsort(sides[sides < stride], kind='stable')].tolist()
        width, height = recipe.resizing.scale
        what = (
            f'{len(small):,} of {plural(len(valid), "object")} {are(len(small))} smaller than the stride of {stride} '
        )
        what += f'pixels at {width}×{height}'
        fix = 'They are hard to find: cut large images into tiles, or raise the scale'
        findings.append(Finding(data.source, what, Places(smallest, data.place), fix=fix))
    return findings


def _counted(data: Annotations, counts: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda row: f'{data.images[row]["file_name"]}: {counts[row]}'
