"""Weights before training: Xavier in the transformer, as DETR has it, and none forgotten."""

from __future__ import annotations

import math

import pytest
import torch

from mmdet_dab.registry import MODELS
from tests.helpers import tiny


@pytest.fixture
def model():
    model = MODELS.build(tiny.tiny_config())
    for name, parameter in model.named_parameters():
        if name.startswith(('encoder', 'decoder')) and parameter.dim() > 1:
            torch.nn.init.constant_(parameter, 7)
    model.init_weights()
    return model


def test_every_matrix_of_the_transformer_is_xavier_uniform(model):
    """Uniform in ±√(6 / (in + out)); in the encoder's self-attention as for one matrix of 3D rows."""
    checked = 0
    for name, parameter in model.named_parameters():
        if name.startswith(('encoder', 'decoder')) and parameter.dim() > 1:
            rows, columns = parameter.shape
            if name.startswith('encoder.layers.') and any(f'.{role}.' in name for role in ('query', 'key', 'value')):
                rows *= 3
            bound = math.sqrt(6 / (rows + columns))
            assert 0.8 * bound < parameter.abs().max() <= bound * 1.0001, name
            checked += 1
    assert checked > 50


def test_a_parts_own_initialisation_survives(monkeypatch):
    """A part of your own may initialise itself; the whole does not overwrite it."""

    class ConstantFeedForward(MODELS.get('mmdet_dab.FeedForward')):
        def init_weights(self):
            torch.nn.init.constant_(self.expand.weight, 0.5)

    monkeypatch.setitem(MODELS.module_dict, 'ConstantFeedForward', ConstantFeedForward)
    layer = dict(feed_forward=dict(type='mmdet_dab.ConstantFeedForward'))
    model = MODELS.build(tiny.tiny_config(decoder=dict(layer=layer)))
    model.init_weights()
    assert all((layer.feed_forward.expand.weight == 0.5).all() for layer in model.decoder.layers)


class TestDirectedStart:
    """Each head starts by looking beside the anchor, in a direction of its own."""

    def build(self, **config):
        attention = dict(
            type='mmdet_dab.ConditionalCrossAttention',
            embed_dims=64,
            num_heads=4,
            init_cfg=dict(type='mmdet_dab.DirectedAttention', **config),
        )
        part = MODELS.build(attention)
        part.init_weights()
        return part

    @pytest.mark.parametrize('radius', [0.0, 0.2])
    def test_positional_score_peaks_at_the_shifted_anchor(self, radius):
        """Head h of 4: right, below, left, above (y points down), at the distance of the radius."""
        part = self.build(radius=radius, gain=2.0, temperature=20)
        encoder = MODELS.build(dict(type='mmdet_dab.SinePositionalEncoder', embed_dims=64, temperature=20))
        cells = encoder.cells(torch.zeros(1, 20, 20, dtype=torch.bool)).flatten(1, 2)
        anchor = encoder.boxes(torch.tensor([[[0.5, 0.5]]]))
        scores = part.split(part.query_sine(anchor)) @ part.split(part.key_position(cells)).transpose(2, 3)
        for head, (dx, dy) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
            row, column = divmod(scores[0, head, 0].argmax().item(), 20)
            # Cell i lies at (i + 1) / 20, as the released code counts.
            assert (column + 1) / 20 == pytest.approx(0.5 + radius * dx, abs=1e-6)
            assert (row + 1) / 20 == pytest.approx(0.5 + radius * dy, abs=1e-6)

    def test_gain_sharpens(self):
        weights = [self.build(radius=0.1, gain=gain).key_position.weight for gain in (1.0, 3.0)]
        torch.testing.assert_close(weights[1], 3 * weights[0])

    def test_unit_position_scale(self):
        scale = dict(init_cfg=dict(type='mmdet_dab.UnitPositionScale'))
        model = MODELS.build(tiny.tiny_config(decoder=dict(positional_query=dict(position_scale=scale))))
        model.init_weights()
        position, content = torch.randn(2, 2, 3, tiny.WIDTH)
        assert torch.equal(model.decoder.positional_query.position_scale(position, content, 1), position)
        assert not torch.allclose(model.encoder.position_scale(position, content, 1), position)

    @pytest.mark.parametrize(
        ('config', 'message'), [(dict(radius=-1), 'radius=-1'), (dict(radius=0.1, gain=0), 'gain=0')]
    )
    def test_bad_values_are_refused(self, config, message):
        with pytest.raises(ValueError, match=message):
            self.build(**config)


class TestBoxesAtReferences:
    """The box branches start with no offset, but for the size of the first."""

    @pytest.mark.parametrize(('size_bias', 'per_layer'), [(0.0, ()), (-2.0, ('box',))])
    def test_offsets(self, size_bias, per_layer):
        init_cfg = dict(type='BoxesAtReferences', size_bias=size_bias)
        head = MODELS.build(tiny.tiny_config(bbox_head=dict(init_cfg=init_cfg, per_layer=per_layer)).bbox_head)
        head.init_weights()
        content = torch.randn(2, 5, tiny.WIDTH)
        first, later = head.box_offset(content, 0), head.box_offset(content, 2)
        expected = torch.tensor([0.0, 0.0, size_bias, size_bias]).expand(2, 5, -1)
        assert torch.equal(first, expected)
        assert not later.any()

    def test_without_it_boxes_start_as_those_of_an_untrained_branch(self):
        head = MODELS.build(tiny.tiny_config(bbox_head=dict(init_cfg=None)).bbox_head)
        head.init_weights()
        assert head.box_offset(torch.randn(2, 5, tiny.WIDTH), 0).std() > 1e-3
