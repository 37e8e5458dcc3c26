"""The layouts of mmdet's own DABDETR, DETR and ConditionalDETR (mmdet 3.3.0).

Checked by running mmdet's models with our weights, renamed by these tables: outputs are equal
(``tests/models/test_against_mmdet.py``, ``tests/models/test_against_mmdet_detr.py``).
"""

from __future__ import annotations

from mmdet_dab.checkpoints.layout import Pairs, TwoWayLayout

#: What mmdet's DETR, ConditionalDETR and DABDETR share.
BODY: Pairs = (
    ('backbone', 'backbone'),
    ('neck', 'neck'),
    ('encoder.layers.#.self_attn.attn.out_proj', 'encoder.layers.#.self_attention.out'),
    ('encoder.layers.#.norms.0', 'encoder.layers.#.attention_norm'),
    ('encoder.layers.#.norms.1', 'encoder.layers.#.feed_forward_norm'),
    ('encoder.layers.#.ffn.layers.0.0', 'encoder.layers.#.feed_forward.expand'),
    ('encoder.layers.#.ffn.layers.1', 'encoder.layers.#.feed_forward.shrink'),
    ('decoder.layers.#.norms.0', 'decoder.layers.#.self_attention_norm'),
    ('decoder.layers.#.norms.1', 'decoder.layers.#.cross_attention_norm'),
    ('decoder.layers.#.norms.2', 'decoder.layers.#.feed_forward_norm'),
    ('decoder.layers.#.ffn.layers.0.0', 'decoder.layers.#.feed_forward.expand'),
    ('decoder.layers.#.ffn.layers.1', 'decoder.layers.#.feed_forward.shrink'),
    ('decoder.post_norm', 'decoder.norm'),
)
#: The decoder's attentions of ConditionalDETR and DABDETR.
CONDITIONAL_ATTENTION: Pairs = (
    ('decoder.layers.#.self_attn.qcontent_proj', 'decoder.layers.#.self_attention.query_content'),
    ('decoder.layers.#.self_attn.qpos_proj', 'decoder.layers.#.self_attention.query_position'),
    ('decoder.layers.#.self_attn.kcontent_proj', 'decoder.layers.#.self_attention.key_content'),
    ('decoder.layers.#.self_attn.kpos_proj', 'decoder.layers.#.self_attention.key_position'),
    ('decoder.layers.#.self_attn.v_proj', 'decoder.layers.#.self_attention.value'),
    ('decoder.layers.#.self_attn.out_proj', 'decoder.layers.#.self_attention.out'),
    ('decoder.layers.#.cross_attn.qcontent_proj', 'decoder.layers.#.cross_attention.query_content'),
    ('decoder.layers.#.cross_attn.qpos_proj', 'decoder.layers.#.cross_attention.query_position'),
    ('decoder.layers.#.cross_attn.qpos_sine_proj', 'decoder.layers.#.cross_attention.query_sine'),
    ('decoder.layers.#.cross_attn.kcontent_proj', 'decoder.layers.#.cross_attention.key_content'),
    ('decoder.layers.#.cross_attn.kpos_proj', 'decoder.layers.#.cross_attention.key_position'),
    ('decoder.layers.#.cross_attn.v_proj', 'decoder.layers.#.cross_attention.value'),
    ('decoder.layers.#.cross_attn.out_proj', 'decoder.layers.#.cross_attention.out'),
)
#: Query, key and value in one tensor there.
ENCODER_ATTENTION: Pairs = (('encoder.layers.#.self_attn.attn', 'encoder.layers.#.self_attention'),)

MMDET = TwoWayLayout(
    name='mmdet',
    source="mmdet's DABDETR",
    marks=(
        'query_embedding.weight',
        'decoder.ref_point_head.layers.0.weight',
        'bbox_head.fc_reg.layers.0.weight',
    ),
    pairs=(
        *BODY,
        *CONDITIONAL_ATTENTION,
        ('encoder.query_scale', 'encoder.position_scale'),
        ('encoder.layers.#.ffn.layers.0.1', 'encoder.layers.#.feed_forward.activation'),
        ('decoder.layers.#.ffn.layers.0.1', 'decoder.layers.#.feed_forward.activation'),
        ('decoder.ref_point_head', 'decoder.positional_query.learned'),
        ('decoder.query_scale.layers', 'decoder.positional_query.position_scale.layers'),
        ('decoder.query_scale.weight', 'decoder.positional_query.position_scale.factors'),
        ('decoder.ref_anchor_head', 'decoder.positional_query.size_modulation.reference_size'),
        ('patterns.weight', 'query_generator.patterns'),
        ('bbox_head.fc_cls', 'bbox_head.class_branch'),
        ('bbox_head.fc_reg', 'bbox_head.box_branches.0'),
    ),
    anchors='query_embedding.weight',
    packed=ENCODER_ATTENTION,
    remarks=(
        "mmdet's decoder clamps σ⁻¹ at 1e-5, ours at 1e-3 as the authors' does: for the same figures also where an "
        'anchor is within 1e-3 of the border, set model.decoder.anchor_update.eps=1e-5',
    ),
)
#: What DETR and ConditionalDETR share.
DETR_COMMON: Pairs = (
    *BODY,
    ('query_embedding.weight', 'query_generator.position'),
    ('bbox_head.fc_cls', 'bbox_head.class_branch'),
    ('bbox_head.reg_ffn.layers.0.0', 'bbox_head.box_branches.0.layers.0'),
    ('bbox_head.reg_ffn.layers.1', 'bbox_head.box_branches.0.layers.1'),
    ('bbox_head.fc_reg', 'bbox_head.box_branches.0.layers.2'),
)
#: In the head of both; DABDETR has no such tensor.
HEAD_MARK = 'bbox_head.reg_ffn.layers.0.0.weight'

MMDET_DETR = TwoWayLayout(
    name='mmdet-detr',
    source="mmdet's DETR",
    marks=('query_embedding.weight', 'decoder.layers.0.cross_attn.attn.in_proj_weight', HEAD_MARK),
    pairs=(
        *DETR_COMMON,
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
        *DETR_COMMON,
        *CONDITIONAL_ATTENTION,
        ('decoder.ref_point_head', 'query_generator.point'),
        ('decoder.query_scale', 'decoder.positional_query.position_scale'),
    ),
    anchors='',
    packed=ENCODER_ATTENTION,
)
