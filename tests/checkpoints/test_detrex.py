"""detrex's names, against the authors' names, whose figures are known, and its Swin against mmdet's.

detrex itself is not on PyPI. ``detrex_name`` is its naming as its source documents it, from the authors' naming,
and independent of ours.
"""

from __future__ import annotations

import re

import pytest
import torch
from mmdet.models.backbones.swin import SwinTransformer, swin_converter
from torch import Tensor

from mmdet_dab.checkpoints import recognise
from mmdet_dab.checkpoints.authors import AUTHORS
from mmdet_dab.checkpoints.detrex import DETREX, merged_by_unfold
from mmdet_dab.checkpoints.layout import COCO_IDS
from tests.helpers.golden import GoldenCase, make_weight

ATTENTION = {
    'qcontent': 'query_content_proj',
    'qpos': 'query_pos_proj',
    'qpos_sine': 'query_pos_sine_proj',
    'kcontent': 'key_content_proj',
    'kpos': 'key_pos_proj',
    'v': 'value_proj',
}
FFN = {'linear1': 'ffns.0.layers.0.0', 'activation': 'ffns.0.layers.0.1', 'linear2': 'ffns.0.layers.1'}


def detrex_name(name: str) -> str:
    """The authors' name -> detrex's."""
    if name.startswith('backbone'):
        name = name.replace('backbone.0.body.', 'backbone.')
        # detectron2: stages are counted from res2, after the stem, and a norm is part of its convolution.
        name = re.sub(r'layer(\d)', lambda found: f'res{int(found[1]) + 1}', name)
        name = re.sub(r'backbone\.(conv1|bn1)', r'backbone.stem.\1', name)
        name = re.sub(r'bn(\d)', r'conv\1.norm', name)
        return name.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')
    name = re.sub(r'[sc]a_(\w+)_proj', lambda found: f'{found[0][:2]}.{ATTENTION[found[1]]}', name)
    name = re.sub(r'(decoder\.layers\.\d+)\.(?:sa|self_attn)\.', r'\1.attentions.0.', name)
    name = re.sub(r'(decoder\.layers\.\d+)\.(?:ca|cross_attn)\.', r'\1.attentions.1.', name)
    name = re.sub(r'(encoder\.layers\.\d+)\.self_attn\.', r'\1.attentions.0.attn.', name)
    name = re.sub(r'norm([123])\.', lambda found: f'norms.{int(found[1]) - 1}.', name)
    name = re.sub('|'.join(FFN), lambda found: FFN[found[0]], name)
    return name.replace('refpoint_embed', 'anchor_box_embed').replace('decoder.norm.', 'decoder.post_norm_layer.')


@pytest.fixture(scope='module')
def released() -> dict[str, Tensor]:
    """With COCO's 80 classes, as detrex has them."""
    weights = GoldenCase.load('dab_detr_r50').checkpoint()['model']
    return {
        name: tensor[torch.as_tensor(COCO_IDS)] if name.startswith('class_embed') else tensor
        for name, tensor in weights.items()
    }


def test_the_same_weights_as_from_the_authors_layout(released):
    weights = {detrex_name(name): tensor for name, tensor in released.items()}
    for name in [name for name in weights if name.endswith('ffns.0.layers.0.1.weight')]:
        # A detrex FFN holds its activation as an attribute, too.
        weights[name.replace('layers.0.1.weight', 'activation.weight')] = weights[name]
    for name in (
        'backbone.stem.conv1.norm.running_mean',
        'backbone.res5.0.shortcut.norm.weight',
        'transformer.encoder.layers.0.attentions.0.attn.in_proj_weight',
        'transformer.decoder.layers.0.attentions.1.query_pos_sine_proj.weight',
        'transformer.decoder.layers.5.ffns.0.activation.weight',
        'transformer.decoder.layers.2.norms.2.bias',
    ):
        assert name in weights
    assert recognise(weights) is DETREX
    found, expected = DETREX.convert(weights), AUTHORS.convert(released)
    assert found.state.keys() == expected.state.keys()
    for name, tensor in expected.state.items():
        assert torch.equal(found.state[name], tensor), name
    assert found.class_rows == 80
    # The decoder's box MLP, and an activation in each of twelve layers.
    assert len(found.dropped) == 6 + 12


def test_merging_of_cells_by_hand():
    """Two channels a, b of the cells 00, 10, 01, 11 (row, column) in the order of Swin's authors."""
    theirs = torch.tensor([10, 20, 11, 21, 12, 22, 13, 23])  # a00 b00 a10 b10 a01 b01 a11 b11
    assert merged_by_unfold(theirs).tolist() == [10, 12, 11, 13, 20, 22, 21, 23]  # a: 00 01 10 11, then b


SWIN = {
    'patch_embed.projection': 'patch_embed.proj',
    'stages': 'layers',
    'attn.w_msa': 'attn',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
}


def test_a_swin_becomes_what_mmdet_makes_of_the_one_of_its_authors():
    """detectron2, and so detrex, has the names of Swin's authors, which mmdet converts when it loads their weights.

    Seen once with transformers 5.23.0: its Swin, which merges cells in the authors' order, computes the same to 2e-6.
    """
    mmdets = SwinTransformer(embed_dims=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), out_indices=(3,)).state_dict()
    authors = {}
    for name, tensor in mmdets.items():
        for ours, theirs in SWIN.items():
            name = name.replace(ours, theirs)
        authors[name] = tensor if 'index' in name else torch.from_numpy(make_weight(name, list(tensor.shape)))
    found = DETREX.convert({f'backbone.{name}': tensor for name, tensor in authors.items()}).state
    expected = swin_converter(authors)
    assert found.keys() == expected.keys() == {f'backbone.{name}' for name in mmdets}
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
