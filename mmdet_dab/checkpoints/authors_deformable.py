"""The layout of the authors' released DAB-Deformable-DETR (github.com/IDEA-Research/DAB-DETR).

Checked against: figures of the authors' code for given weights (``tests/data/golden``), which this
table reproduces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmdet_dab.checkpoints.layout import Layout
from mmdet_dab.errors import CheckpointError

AUTHORS_DEFORMABLE = Layout(
    name='authors-deformable',
    source="the authors' release of DAB-Deformable-DETR (github.com/IDEA-Research/DAB-DETR)",
    marks=('refpoint_embed.weight', 'tgt_embed.weight', 'transformer.level_embed', 'bbox_embed.0.layers.0.weight'),
    pairs=(
        ('backbone.0.body', 'backbone'),
        ('input_proj.3.0', 'neck.extra_convs.0.conv'),
        ('input_proj.3.1', 'neck.extra_convs.0.gn'),
        ('input_proj.#.0', 'neck.convs.#.conv'),
        ('input_proj.#.1', 'neck.convs.#.gn'),
        ('transformer.level_embed', 'tokenizer.level_embedding'),
        ('transformer.encoder.layers.#.self_attn.value_proj', 'encoder.layers.#.self_attention.value'),
        ('transformer.encoder.layers.#.self_attn.output_proj', 'encoder.layers.#.self_attention.out'),
        ('transformer.encoder.layers.#.self_attn', 'encoder.layers.#.self_attention'),
        ('transformer.encoder.layers.#.norm1', 'encoder.layers.#.attention_norm'),
        ('transformer.encoder.layers.#.norm2', 'encoder.layers.#.feed_forward_norm'),
        ('transformer.encoder.layers.#.linear1', 'encoder.layers.#.feed_forward.expand'),
        ('transformer.encoder.layers.#.linear2', 'encoder.layers.#.feed_forward.shrink'),
        ('transformer.decoder.layers.#.self_attn.out_proj', 'decoder.layers.#.self_attention.out'),
        ('transformer.decoder.layers.#.cross_attn.value_proj', 'decoder.layers.#.cross_attention.value'),
        ('transformer.decoder.layers.#.cross_attn.output_proj', 'decoder.layers.#.cross_attention.out'),
        ('transformer.decoder.layers.#.cross_attn', 'decoder.layers.#.cross_attention'),
        # Unlike in DAB-DETR, norm1 belongs to the cross-attention, which comes second.
        ('transformer.decoder.layers.#.norm1', 'decoder.layers.#.cross_attention_norm'),
        ('transformer.decoder.layers.#.norm2', 'decoder.layers.#.self_attention_norm'),
        ('transformer.decoder.layers.#.norm3', 'decoder.layers.#.feed_forward_norm'),
        ('transformer.decoder.layers.#.linear1', 'decoder.layers.#.feed_forward.expand'),
        ('transformer.decoder.layers.#.linear2', 'decoder.layers.#.feed_forward.shrink'),
        ('transformer.decoder.ref_point_head', 'decoder.positional_query.learned'),
        ('transformer.decoder.query_scale', 'decoder.positional_query.position_scale'),
        ('class_embed.#', 'bbox_head.class_branches.#'),
        ('bbox_embed.#', 'bbox_head.box_branches.#'),
        ('tgt_embed.weight', 'query_generator.content'),
    ),
    anchors='refpoint_embed.weight',
    packed=(('transformer.decoder.layers.#.self_attn', 'decoder.layers.#.self_attention'),),
    # The decoder sees the head's box MLPs.
    copies=(('transformer.decoder.bbox_embed', 'bbox_embed'),),
)


def convert_deformable(checkpoint: Mapping[str, Any], num_classes: int = 91) -> dict[str, Tensor]:
    """Our state dict from the released one.

    Args:
        checkpoint: the released file as read, with its weights under ``'model'``, or those alone.
        num_classes: class rows to keep in every layer: 91 for all COCO ids 0..90, 80 for COCO's
            classes in mmdet's order.

    Returns:
        the state dict of ``configs/dab_deformable_detr_r50_50e_released.py``.

    Raises:
        CheckpointError: names a tensor that has no place here, or a number of classes that the file
            cannot give.
    """
    conversion = AUTHORS_DEFORMABLE.convert(checkpoint.get('model', checkpoint))
    if not conversion.class_rows:
        raise CheckpointError(
            "the checkpoint has no class branches ('class_embed.0.weight'): it is not a released DAB-Deformable-DETR"
        )
    return conversion.with_classes(num_classes).state
