"""All known layouts, and which of them a file has."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from mmdet_dab.checkpoints.authors import AUTHORS
from mmdet_dab.checkpoints.authors_deformable import AUTHORS_DEFORMABLE
from mmdet_dab.checkpoints.detrex import DETREX
from mmdet_dab.checkpoints.huggingface import HUGGINGFACE, HUGGINGFACE_TIMM
from mmdet_dab.checkpoints.layout import Layout, Pairs
from mmdet_dab.checkpoints.mmdet import MMDET, MMDET_CONDITIONAL_DETR, MMDET_DETR
from mmdet_dab.checkpoints.unwrap import without_prefix
from mmdet_dab.errors import CheckpointError, listed

PARTS = ('backbone', 'neck', 'tokenizer', 'encoder', 'query_generator', 'decoder', 'bbox_head')
#: Names of tensors in earlier checkpoints -> their names now.
EARLIER: Pairs = tuple(
    (f'decoder.positional_query.{before}', f'decoder.positional_query.{now}')
    for before, now in (
        ('content_scale', 'position_scale'),
        ('layer_scale', 'position_scale.factors'),
        ('reference_size', 'size_modulation.reference_size'),
    )
)
#: Our own layout, so that what was trained here can be converted for others.
OURS = Layout(
    name='mmdet_dab',
    source='this project',
    # In every detector of ours; a DETR, for example, has no anchors.
    marks=('bbox_head.box_branches.0.layers.0.weight',),
    pairs=(*EARLIER, *((part, part) for part in PARTS)),
    anchors='',
)
LAYOUTS = (
    AUTHORS,
    AUTHORS_DEFORMABLE,
    MMDET,
    MMDET_DETR,
    MMDET_CONDITIONAL_DETR,
    HUGGINGFACE,
    HUGGINGFACE_TIMM,
    DETREX,
    OURS,
)


def unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the prefix of a wrapper, such as ``module.``, where a known layout stands
    behind it.

    Raises:
        CheckpointError: several models stand behind prefixes of their own.
    """
    if not any(layout.recognises(weights) for layout in LAYOUTS):
        for layout in LAYOUTS:
            found = without_prefix(weights, layout.marks, least=len(layout.marks))
            if found is not None:
                return found
    return dict(weights)


def recognise(names: Collection[str]) -> Layout:
    """The layout of tensors with these names.

    Raises:
        CheckpointError: it is none of the known ones; lists those, and what each is recognised by.
    """
    for layout in LAYOUTS:
        if layout.recognises(names):
            return layout
    known = '; '.join(f'{layout.source} (has {", ".join(layout.marks)})' for layout in LAYOUTS)
    raise CheckpointError(
        f'the layout is not known, it starts with {listed(names, 3) or "no tensor"}. Known layouts are: {known}'
    )
