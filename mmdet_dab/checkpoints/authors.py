"""The layout of the authors' released DAB-DETR (github.com/IDEA-Research/DAB-DETR) -> ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: COCO's 80 classes among the ids 0..90 that the released class rows stand for, in mmdet's order.
COCO_IDS = tuple(sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))

#: Their name -> ours, tried in order.
RENAMES: tuple[tuple[str, str], ...] = (
    (r'backbone\.0\.body\.', 'backbone.'),
    (r'input_proj\.', 'neck.convs.0.conv.'),
    (r'transformer\.encoder\.query_scale\.', 'encoder.position_scale.'),
    (r'transformer\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.', r'encoder.layers.\1.self_attention.out.'),
    (r'transformer\.(encoder|decoder)\.layers\.(\d+)\.linear1\.', r'\1.layers.\2.feed_forward.expand.'),
    (r'transformer\.(encoder|decoder)\.layers\.(\d+)\.linear2\.', r'\1.layers.\2.feed_forward.shrink.'),
    (r'transformer\.(encoder|decoder)\.layers\.(\d+)\.activation\.', r'\1.layers.\2.feed_forward.activation.'),
    (r'transformer\.encoder\.layers\.(\d+)\.norm1\.', r'encoder.layers.\1.attention_norm.'),
    (r'transformer\.encoder\.layers\.(\d+)\.norm2\.', r'encoder.layers.\1.feed_forward_norm.'),
    (r'transformer\.decoder\.layers\.(\d+)\.norm1\.', r'decoder.layers.\1.self_attention_norm.'),
    (r'transformer\.decoder\.layers\.(\d+)\.norm2\.', r'decoder.layers.\1.cross_attention_norm.'),
    (r'transformer\.decoder\.layers\.(\d+)\.norm3\.', r'decoder.layers.\1.feed_forward_norm.'),
    (r'transformer\.decoder\.layers\.(\d+)\.self_attn\.out_proj\.', r'decoder.layers.\1.self_attention.out.'),
    (r'transformer\.decoder\.layers\.(\d+)\.cross_attn\.out_proj\.', r'decoder.layers.\1.cross_attention.out.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_qcontent_proj\.', r'decoder.layers.\1.self_attention.query_content.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_qpos_proj\.', r'decoder.layers.\1.self_attention.query_position.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_kcontent_proj\.', r'decoder.layers.\1.self_attention.key_content.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_kpos_proj\.', r'decoder.layers.\1.self_attention.key_position.'),
    (r'transformer\.decoder\.layers\.(\d+)\.sa_v_proj\.', r'decoder.layers.\1.self_attention.value.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_qcontent_proj\.', r'decoder.layers.\1.cross_attention.query_content.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_qpos_proj\.', r'decoder.layers.\1.cross_attention.query_position.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_kcontent_proj\.', r'decoder.layers.\1.cross_attention.key_content.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_kpos_proj\.', r'decoder.layers.\1.cross_attention.key_position.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_v_proj\.', r'decoder.layers.\1.cross_attention.value.'),
    (r'transformer\.decoder\.layers\.(\d+)\.ca_qpos_sine_proj\.', r'decoder.layers.\1.cross_attention.query_sine.'),
    (r'transformer\.decoder\.norm\.', 'decoder.norm.'),
    (r'transformer\.decoder\.ref_point_head\.', 'decoder.positional_query.learned.'),
    (r'transformer\.decoder\.query_scale\.layers\.', 'decoder.positional_query.content_scale.layers.'),
    (r'transformer\.decoder\.query_scale\.weight', 'decoder.positional_query.layer_scale'),
    (r'transformer\.decoder\.ref_anchor_head\.', 'decoder.positional_query.reference_size.'),
    (r'class_embed\.', 'bbox_head.class_branch.'),
    (r'bbox_embed\.layers\.', 'bbox_head.box_branches.0.layers.'),
    (r'bbox_embed\.(\d+)\.layers\.', r'bbox_head.box_branches.\1.layers.'),
    (r'transformer\.patterns\.weight', 'query_generator.patterns'),
)

#: The decoder's view of the box MLP is the same tensor as the head's.
SHARED = re.compile(r'transformer\.decoder\.bbox_embed\.')


def convert(checkpoint: Mapping[str, Any], num_classes: int = 91) -> dict[str, Tensor]:
    """Our state dict from the released one.

    Args:
        checkpoint: the released file as read, with its weights under ``'model'``, or those alone.
        num_classes: class rows to keep: 91 for all COCO ids 0..90, 80 for COCO's classes in
            mmdet's order.

    Returns:
        the state dict of ``configs/dab_detr_r50_50e.py`` and its variants.

    Raises:
        ValueError: names a tensor that has no place here, or a number of classes that the file cannot give.
    """
    state = {}
    for name, tensor in checkpoint.get('model', checkpoint).items():
        if not SHARED.match(name):
            state.update(_convert_tensor(name, tensor))
    for name in ('bbox_head.class_branch.weight', 'bbox_head.class_branch.bias'):
        state[name] = _class_rows(state, name, num_classes)
    return state


def _convert_tensor(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One of their tensors -> one or several of ours."""
    if name == 'refpoint_embed.weight':
        parts = {'query_generator.centers': tensor[:, :2].clone()}
        if tensor.size(1) == 4:
            parts['query_generator.sizes'] = tensor[:, 2:].clone()
        return parts
    packed = re.fullmatch(r'transformer\.encoder\.layers\.(\d+)\.self_attn\.in_proj_(weight|bias)', name)
    if packed:
        prefix = f'encoder.layers.{packed[1]}.self_attention'
        roles = ('query', 'key', 'value')
        return {f'{prefix}.{role}.{packed[2]}': part.clone() for role, part in zip(roles, tensor.chunk(3), strict=True)}
    for pattern, replacement in RENAMES:
        if re.match(pattern, name):
            return {re.sub(f'^{pattern}', replacement, name): tensor}
    raise ValueError(f"'{name}' is not a tensor of a released DAB-DETR: is this another model's checkpoint?")


def _class_rows(state: Mapping[str, Tensor], name: str, num_classes: int) -> Tensor:
    if name not in state:
        raise ValueError(f"the checkpoint has no class branch ('{name}' is missing): it is not a released DAB-DETR")
    rows = state[name]
    if num_classes == len(rows):
        return rows
    if (len(rows), num_classes) == (91, 80):
        return rows[torch.as_tensor(COCO_IDS)]
    raise ValueError(f'num_classes={num_classes}: the checkpoint has {len(rows)} class rows, give {len(rows)} or 80')
