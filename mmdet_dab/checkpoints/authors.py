"""The layout of the authors' released DAB-DETR (github.com/IDEA-Research/DAB-DETR).

Checked against: figures of the authors' code for given weights (``tests/data/golden``), which this
table reproduces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmdet_dab.checkpoints.layout import COCO_IDS, Layout
from mmdet_dab.errors import CheckpointError

__all__ = ['AUTHORS', 'COCO_IDS', 'convert']

AUTHORS = Layout(
    name='authors',
    source="the authors' release (github.com/IDEA-Research/DAB-DETR)",
    marks=(
        'refpoint_embed.weight',
        'transformer.decoder.ref_point_head.layers.0.weight',
        'transformer.encoder.layers.0.self_attn.in_proj_weight',
    ),
    pairs=(
        ('backbone.0.body', 'backbone'),
        ('input_proj', 'neck.convs.0.conv'),
        ('transformer.encoder.query_scale', 'encoder.position_scale'),
        ('transformer.encoder.layers.#.self_attn.out_proj', 'encoder.layers.#.self_attention.out'),
        ('transformer.encoder.layers.#.norm1', 'encoder.layers.#.attention_norm'),
        ('transformer.encoder.layers.#.norm2', 'encoder.layers.#.feed_forward_norm'),
        ('transformer.encoder.layers.#.linear1', 'encoder.layers.#.feed_forward.expand'),
        ('transformer.encoder.layers.#.activation', 'encoder.layers.#.feed_forward.activation'),
        ('transformer.encoder.layers.#.linear2', 'encoder.layers.#.feed_forward.shrink'),
        ('transformer.decoder.layers.#.norm1', 'decoder.layers.#.self_attention_norm'),
        ('transformer.decoder.layers.#.norm2', 'decoder.layers.#.cross_attention_norm'),
        ('transformer.decoder.layers.#.norm3', 'decoder.layers.#.feed_forward_norm'),
        ('transformer.decoder.layers.#.sa_qcontent_proj', 'decoder.layers.#.self_attention.query_content'),
        ('transformer.decoder.layers.#.sa_qpos_proj', 'decoder.layers.#.self_attention.query_position'),
        ('transformer.decoder.layers.#.sa_kcontent_proj', 'decoder.layers.#.self_attention.key_content'),
        ('transformer.decoder.layers.#.sa_kpos_proj', 'decoder.layers.#.self_attention.key_position'),
        ('transformer.decoder.layers.#.sa_v_proj', 'decoder.layers.#.self_attention.value'),
        ('transformer.decoder.layers.#.self_attn.out_proj', 'decoder.layers.#.self_attention.out'),
        ('transformer.decoder.layers.#.ca_qcontent_proj', 'decoder.layers.#.cross_attention.query_content'),
        ('transformer.decoder.layers.#.ca_qpos_proj', 'decoder.layers.#.cross_attention.query_position'),
        ('transformer.decoder.layers.#.ca_qpos_sine_proj', 'decoder.layers.#.cross_attention.query_sine'),
        ('transformer.decoder.layers.#.ca_kcontent_proj', 'decoder.layers.#.cross_attention.key_content'),
        ('transformer.decoder.layers.#.ca_kpos_proj', 'decoder.layers.#.cross_attention.key_position'),
        ('transformer.decoder.layers.#.ca_v_proj', 'decoder.layers.#.cross_attention.value'),
        ('transformer.decoder.layers.#.cross_attn.out_proj', 'decoder.layers.#.cross_attention.out'),
        ('transformer.decoder.layers.#.linear1', 'decoder.layers.#.feed_forward.expand'),
        ('transformer.decoder.layers.#.activation', 'decoder.layers.#.feed_forward.activation'),
        ('transformer.decoder.layers.#.linear2', 'decoder.layers.#.feed_forward.shrink'),
        ('transformer.decoder.norm', 'decoder.norm'),
        ('transformer.decoder.ref_point_head', 'decoder.positional_query.learned'),
        ('transformer.decoder.query_scale.layers', 'decoder.positional_query.position_scale.layers'),
        ('transformer.decoder.query_scale.weight', 'decoder.positional_query.position_scale.factors'),
        ('transformer.decoder.ref_anchor_head', 'decoder.positional_query.size_modulation.reference_size'),
        ('transformer.patterns.weight', 'query_generator.patterns'),
        ('class_embed', 'bbox_head.class_branch'),
        ('bbox_embed.layers', 'bbox_head.box_branches.0.layers'),
        ('bbox_embed.#', 'bbox_head.box_branches.#'),
    ),
    anchors='refpoint_embed.weight',
    packed=(('transformer.encoder.layers.#.self_attn', 'encoder.layers.#.self_attention'),),
    # The decoder sees the head's box MLP.
    copies=(('transformer.decoder.bbox_embed', 'bbox_embed'),),
    remarks=(
        'a DC5 model and one with fixed x, y have the same tensors as the plain one: if this is one, '
        'name its config with --config',
    ),
)


def convert(checkpoint: Mapping[str, Any], num_classes: int = 91) -> dict[str, Tensor]:
    """Our state dict from the released one.

    Args:
        checkpoint: the released file as read, with its weights under ``'model'``, or those alone.
        num_classes: class rows to keep: 91 for all COCO ids 0..90, 80 for COCO's classes in
            mmdet's order.

    Returns:
        the state dict of ``configs/dab_detr_r50_50e.py`` and its variants.

    Raises:
        CheckpointError: names a tensor that has no place here, or a number of classes that the file
            cannot give.
    """
    conversion = AUTHORS.convert(checkpoint.get('model', checkpoint))
    if not conversion.class_rows:
        raise CheckpointError(
            "the checkpoint has no class branch ('class_embed.weight'): it is not a released DAB-DETR"
        )
    return conversion.with_classes(num_classes).state
