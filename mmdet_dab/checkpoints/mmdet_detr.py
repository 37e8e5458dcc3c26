"""The layouts of mmdet's own DETR and ConditionalDETR (mmdet 3.3.0).

Truth: mmdet's models, given our weights through these tables, compute the same
(``tests/models/test_against_mmdet_detr.py``).
"""

from __future__ import annotations

from mmdet_dab.checkpoints.layout import Pairs, TwoWayLayout
from mmdet_dab.checkpoints.mmdet_layout import BODY, CONDITIONAL_ATTENTION, ENCODER_ATTENTION

#: What both have.
COMMON: Pairs = (
    *BODY,
    ('query_embedding.weight', 'query_generator.position'),
    ('bbox_head.fc_cls', 'bbox_head.class_branch'),
    ('bbox_head.reg_ffn.layers.0.0', 'bbox_head.box_branches.0.layers.0'),
    ('bbox_head.reg_ffn.layers.1', 'bbox_head.box_branches.0.layers.1'),
    ('bbox_head.fc_reg', 'bbox_head.box_branches.0.layers.2'),
)
#: Of the head that both have, and DABDETR has not.
HEAD_MARK = 'bbox_head.reg_ffn.layers.0.0.weight'

MMDET_DETR = TwoWayLayout(
    name='mmdet-detr',
    source="mmdet's DETR",
    marks=('query_embedding.weight', 'decoder.layers.0.cross_attn.attn.in_proj_weight', HEAD_MARK),
    pairs=(
        *COMMON,
        ('decoder.layers.#.self_attn.attn.out_proj', 'decoder.layers.#.self_attention.out'),
        ('decoder.layers.#.cross_attn.attn.out_proj', 'decoder.layers.#.cross_attention.out'),
    ),
    anchors='',
    packed=(
        *ENCODER_ATTENTION,
        ('decoder.layers.#.self_attn.attn', 'decoder.layers.#.self_attention'),
        ('decoder.layers.#.cross_attn.attn', 'decoder.layers.#.cross_attention'),
    ),
    background=True,
)
MMDET_CONDITIONAL_DETR = TwoWayLayout(
    name='mmdet-conditional-detr',
    source="mmdet's ConditionalDETR",
    marks=('query_embedding.weight', 'decoder.ref_point_head.layers.0.weight', HEAD_MARK),
    pairs=(
        *COMMON,
        *CONDITIONAL_ATTENTION,
        ('decoder.ref_point_head', 'query_generator.point'),
        ('decoder.query_scale', 'decoder.positional_query.position_scale'),
    ),
    anchors='',
    packed=ENCODER_ATTENTION,
)
