"""The layouts that are known, and which of them a file has."""

from __future__ import annotations

from collections.abc import Collection

from mmdet_dab.checkpoints.authors import AUTHORS
from mmdet_dab.checkpoints.authors_deformable import AUTHORS_DEFORMABLE
from mmdet_dab.checkpoints.detrex import DETREX
from mmdet_dab.checkpoints.huggingface import HUGGINGFACE, HUGGINGFACE_TIMM
from mmdet_dab.checkpoints.layout import Layout
from mmdet_dab.checkpoints.mmdet_detr import MMDET_CONDITIONAL_DETR, MMDET_DETR
from mmdet_dab.checkpoints.mmdet_layout import MMDET
from mmdet_dab.errors import CheckpointError

PARTS = ('backbone', 'neck', 'tokenizer', 'encoder', 'query_generator', 'decoder', 'bbox_head')
#: Ours, so that what was trained here can be written for others.
OURS = Layout(
    name='mmdet_dab',
    source='this project',
    # In every detector of ours; anchors, for example, a DETR does not have.
    marks=('bbox_head.box_branches.0.layers.0.weight',),
    pairs=tuple((part, part) for part in PARTS),
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


def recognise(names: Collection[str]) -> Layout:
    """The layout that tensors with these names are in.

    Raises:
        CheckpointError: none that is known; says which are, and what each is recognised by.
    """
    for layout in LAYOUTS:
        if layout.recognises(names):
            return layout
    known = '; '.join(f'{layout.source} (has {", ".join(layout.marks)})' for layout in LAYOUTS)
    found = ', '.join([*names][:3]) or 'no tensor'
    raise CheckpointError(f'the layout is not known, it starts with {found}. Known are: {known}')
