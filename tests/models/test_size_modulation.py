"""Width- and height-modulated attention (eq. 6), by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmdet_dab.models.size_modulation import modulate
from mmdet_dab.registry import MODELS

D = 16


def part():
    torch.manual_seed(0)
    return MODELS.build(dict(type='SizeModulation', embed_dims=D))


def test_modulate_by_hand():
    """The y half (first) by h_ref / h, the x half by w_ref / w."""
    size, reference = torch.tensor([0.2, 0.5]), torch.tensor([0.4, 0.1])
    found = modulate(torch.ones(1, 1, D), reference.view(1, 1, 2), size.view(1, 1, 2))[0, 0]
    np.testing.assert_allclose(found.numpy(), [0.2] * (D // 2) + [2.0] * (D // 2), rtol=1e-6)


def test_equation_6_by_hand():
    """PE(x) · w_ref / w and PE(y) · h_ref / h with (w_ref, h_ref) = σ(W₂ relu(W₁ C + b₁) + b₂)."""
    modulation = part()
    sine, content, anchors = torch.randn(2, 5, D), torch.randn(2, 5, D), torch.rand(2, 5, 4) + 0.1
    first, second = modulation.reference_size.layers
    hidden = (content @ first.weight.T + first.bias).clamp(min=0)
    w_ref, h_ref = (1 / (1 + (-(hidden @ second.weight.T + second.bias)).exp())).unbind(-1)
    _, _, w, h = anchors.unbind(-1)
    expected = sine.clone()
    expected[..., : D // 2] *= (h_ref / h)[..., None]
    expected[..., D // 2 :] *= (w_ref / w)[..., None]
    torch.testing.assert_close(modulation(sine, content, anchors), expected)


@pytest.mark.parametrize(('axis', 'along'), [('x', 1), ('y', 0)])
def test_a_longer_anchor_looks_further_along_its_side(axis, along):
    """The dot product with the code of cells falls off more slowly, along this side and not along the other."""
    encoder = MODELS.build(dict(type='SinePositionalEncoder', embed_dims=64))
    cells = encoder.cells(torch.zeros(1, 20, 20, dtype=torch.bool))[0]
    anchor = torch.tensor([[[0.5, 0.5, 0.2, 0.2]], [[0.5, 0.5, 0.2, 0.2]]])
    anchor[1, 0, 2 if axis == 'x' else 3] = 0.8
    sine = modulate(encoder.boxes(anchor[..., :2]), torch.full((2, 1, 2), 0.2), anchor[..., 2:])
    drop = []
    for code in sine[:, 0]:
        similarity = cells @ code
        center = similarity[9, 9]
        drop.append((center - similarity[9, 14], center - similarity[14, 9]))
    (small_x, small_y), (large_x, large_y) = drop
    same, less = ((small_y, large_y), (small_x, large_x)) if along else ((small_x, large_x), (small_y, large_y))
    torch.testing.assert_close(same[0], same[1])
    assert less[1] < 0.5 * less[0]


def test_points_have_no_size_to_be_modulated_by():
    """It states so; the detector compares (``test_detector.py``)."""
    assert part().contract.anchor_dims == 4
