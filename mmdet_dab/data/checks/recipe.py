"""Whether the figures of a recipe are enough for the data: queries, predictions, and pixels for small objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import check_queries, objects_per_picture
from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.data.recipe import Recipe

#: Above this share of objects smaller than the stride, the AP will be low whatever is done.
MANY = 0.1
#: Predictions of a picture that COCO's AP counts.
COUNTED_BY_COCO = 100


def check_recipe(data: Annotations, classes: Sequence[str], recipe: Recipe, stride: int) -> list[Finding]:
    """What the recipe cannot find; the data are sound otherwise.

    Args:
        data: one split.
        classes: by label.
        recipe: the figures.
        stride: of the model's finest feature map, pixels.
    """
    # The config can be written and edited; a training on it will not start before.
    findings = [replace(one, stops=False) for one in check_queries(data, classes, recipe.num_queries)]
    counts = objects_per_picture(data, classes)
    crowded = np.flatnonzero(counts > COUNTED_BY_COCO)
    if len(crowded):
        places = [f'{data.images[row]["file_name"]}: {counts[row]}' for row in crowded.tolist()]
        what = f'{len(crowded)} pictures have more objects than {COUNTED_BY_COCO}'
        mend = "COCO's AP counts the best 100 predictions of a picture, so that it cannot reach 1"
        findings.append(Finding(data.source, what, places, mend=mend))
    valid = np.flatnonzero(data.counted & (data.image_index >= 0) & (data.labels(classes) >= 0))
    sides = data.boxes[valid, 2:] * recipe.resizing.factors(data.sizes[data.image_index[valid]])
    sides = np.sqrt(np.maximum(sides.prod(axis=1), 0))
    small = valid[sides < stride]
    if len(small) > MANY * len(valid):
        smallest = small[np.argsort(sides[sides < stride], kind='stable')]
        width, height = recipe.resizing.scale
        what = (
            f'{len(small)} of {len(valid)} objects are smaller than the stride of {stride} pixels at {width}×{height}'
        )
        mend = 'they are hard to find; cut large pictures into parts, or raise the scale'
        findings.append(Finding(data.source, what, [data.place(row) for row in smallest.tolist()], mend=mend))
    return findings
