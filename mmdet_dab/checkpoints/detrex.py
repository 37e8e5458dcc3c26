"""The layout of detrex's DAB-DETR (github.com/IDEA-Research/detrex, ``projects/dab_detr``).

Checked against: detrex is not on PyPI, so that nothing of it could be run here; the names are those
that its source documents: ``projects/dab_detr/modeling`` (``dab_detr.py``, ``dab_transformer.py``)
over ``detrex/layers`` (``BaseTransformerLayer``: ``attentions``, ``ffns``, ``norms``; ``FFN``:
``activation`` besides ``layers``; ``ConditionalSelfAttention``, ``ConditionalCrossAttention``). The
names of its ResNet are detectron2's, read in the source of detectron2 0.6; those of its Swin, the
Swin authors'. No released file was at hand: a name that differs from this table ends in an error
that says so, never in weights that stay random.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from mmdet_dab.checkpoints.layout import Conversion, Layout, Pairs

#: A convolution of detectron2 contains its norm.
RESNET: Pairs = (
    ('backbone.stem.conv1.norm', 'backbone.bn1'),
    ('backbone.stem.conv1', 'backbone.conv1'),
    *(
        pair
        for stage in (1, 2, 3, 4)
        for pair in (
            (f'backbone.res{stage + 1}.#.shortcut.norm', f'backbone.layer{stage}.#.downsample.1'),
            (f'backbone.res{stage + 1}.#.shortcut', f'backbone.layer{stage}.#.downsample.0'),
            (f'backbone.res{stage + 1}.#.conv#.norm', f'backbone.layer{stage}.#.bn#'),
            (f'backbone.res{stage + 1}.#.conv#', f'backbone.layer{stage}.#.conv#'),
        )
    ),
)
SWIN: Pairs = (
    ('backbone.patch_embed.proj', 'backbone.patch_embed.projection'),
    ('backbone.patch_embed.norm', 'backbone.patch_embed.norm'),
    ('backbone.layers.#.blocks.#.attn', 'backbone.stages.#.blocks.#.attn.w_msa'),
    ('backbone.layers.#.blocks.#.mlp.fc1', 'backbone.stages.#.blocks.#.ffn.layers.0.0'),
    ('backbone.layers.#.blocks.#.mlp.fc2', 'backbone.stages.#.blocks.#.ffn.layers.1'),
    ('backbone.layers.#.blocks.#.norm1', 'backbone.stages.#.blocks.#.norm1'),
    ('backbone.layers.#.blocks.#.norm2', 'backbone.stages.#.blocks.#.norm2'),
    ('backbone.layers.#.downsample', 'backbone.stages.#.downsample'),
    ('backbone.norm3', 'backbone.norm3'),
)
MERGING = re.compile(r'backbone\.stages\.\d+\.downsample\.(reduction\.weight|norm\.(weight|bias))')


@dataclass(frozen=True)
class DetrexLayout(Layout):
    """The table, and the one thing in a Swin that is ordered differently."""

    def convert(self, weights: Mapping[str, Tensor]) -> Conversion:
        conversion = super().convert(weights)
        state = {
            name: merged_by_unfold(tensor) if MERGING.fullmatch(name) else tensor
            for name, tensor in conversion.state.items()
        }
        return replace(conversion, state=state)


def merged_by_unfold(tensor: Tensor) -> Tensor:
    """Reorder the channels that patch merging makes of 2×2 cells.

    Swin's authors put the cells (0, 0), (1, 0), (0, 1), (1, 1) one after the other, each with all
    its C channels; mmdet's ``nn.Unfold`` has the four cells (0, 0), (0, 1), (1, 0), (1, 1) of every
    channel side by side.

    Args:
        tensor: (..., 4C) in the authors' order.

    Returns:
        (..., 4C) in mmdet's order.
    """
    cells = tensor.unflatten(-1, (2, 2, -1))  # (..., column, row, C)
    return cells.transpose(-3, -2).movedim(-1, -3).flatten(-3)


DETREX = DetrexLayout(
    name='detrex',
    source="detrex's DABDETR",
    marks=('anchor_box_embed.weight', 'transformer.decoder.ref_point_head.layers.0.weight'),
    pairs=(
        *RESNET,
        *SWIN,
        ('input_proj', 'neck.convs.0.conv'),
        ('transformer.encoder.query_scale', 'encoder.position_scale'),
        ('transformer.encoder.layers.#.attentions.0.attn.out_proj', 'encoder.layers.#.self_attention.out'),
        ('transformer.encoder.layers.#.norms.0', 'encoder.layers.#.attention_norm'),
        ('transformer.encoder.layers.#.norms.1', 'encoder.layers.#.feed_forward_norm'),
        ('transformer.decoder.layers.#.norms.0', 'decoder.layers.#.self_attention_norm'),
        ('transformer.decoder.layers.#.norms.1', 'decoder.layers.#.cross_attention_norm'),
        ('transformer.decoder.layers.#.norms.2', 'decoder.layers.#.feed_forward_norm'),
        *(
            pair
            for index, ours in enumerate(('self_attention', 'cross_attention'))
            for pair in (
                (f'transformer.decoder.layers.#.attentions.{index}.{theirs}', f'decoder.layers.#.{ours}.{name}')
                for theirs, name in (
                    ('query_content_proj', 'query_content'),
                    ('query_pos_proj', 'query_position'),
                    ('query_pos_sine_proj', 'query_sine'),
                    ('key_content_proj', 'key_content'),
                    ('key_pos_proj', 'key_position'),
                    ('value_proj', 'value'),
                    ('out_proj', 'out'),
                )
            )
        ),
        *(
            pair
            for stack in ('encoder', 'decoder')
            for pair in (
                (f'transformer.{stack}.layers.#.ffns.0.layers.0.0', f'{stack}.layers.#.feed_forward.expand'),
                (f'transformer.{stack}.layers.#.ffns.0.layers.0.1', f'{stack}.layers.#.feed_forward.activation'),
                (f'transformer.{stack}.layers.#.ffns.0.layers.1', f'{stack}.layers.#.feed_forward.shrink'),
            )
        ),
        ('transformer.decoder.post_norm_layer', 'decoder.norm'),
        ('transformer.decoder.ref_point_head', 'decoder.positional_query.learned'),
        ('transformer.decoder.query_scale', 'decoder.positional_query.position_scale'),
        ('transformer.decoder.ref_anchor_head', 'decoder.positional_query.size_modulation.reference_size'),
        ('class_embed', 'bbox_head.class_branch'),
        ('bbox_embed', 'bbox_head.box_branches.0'),
    ),
    anchors='anchor_box_embed.weight',
    packed=(('transformer.encoder.layers.#.attentions.0.attn', 'encoder.layers.#.self_attention'),),
    copies=(
        ('transformer.decoder.bbox_embed', 'bbox_embed'),
        ('transformer.encoder.layers.#.ffns.0.activation', 'transformer.encoder.layers.#.ffns.0.layers.0.1'),
        ('transformer.decoder.layers.#.ffns.0.activation', 'transformer.decoder.layers.#.ffns.0.layers.0.1'),
    ),
    remarks=(
        'a DC5 model has the same tensors as the plain one: if this is one, name its config with --config '
        "(detectron2's ResNet dilates the first block of the last stage too: backbone.type=ResNet of mmdet, if that "
        'is what it was trained with)',
    ),
)
