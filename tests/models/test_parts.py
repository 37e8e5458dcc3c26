"""Each part on its own: built from a config dict, checked by arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmdet_dab.models import ImageTokens, Queries, QueryPosition
from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.registry import MODELS, TASK_UTILS

D, HEADS = 16, 4


def tokens(batch=2, shape=(3, 4), padding=None):
    cells = shape[0] * shape[1]
    return ImageTokens(
        content=torch.randn(batch, cells, D),
        position=torch.randn(batch, cells, D),
        padding=padding,
        shapes=(shape,),
        valid_ratios=torch.ones(batch, 1, 2),
    )


def encoder_of(**config):
    return MODELS.build(dict(type='mmdet_dab.SinePositionalEncoder', embed_dims=D, **config))


class TestSinePositionalEncoder:
    def test_box_code_by_hand(self):
        """The order is y, x, w, h; sine and cosine alternate; frequency k is 2π / T^(2k / (D/2))."""
        box = torch.tensor([0.3, 0.6, 0.2, 0.1])
        code = encoder_of(temperature=20).boxes(box)
        expected = []
        for coordinate in (0.6, 0.3, 0.2, 0.1):
            for k in range(D // 4):
                angle = coordinate * 2 * math.pi / 20 ** (2 * k / (D // 2))
                expected += [math.sin(angle), math.cos(angle)]
        np.testing.assert_allclose(code.numpy(), expected, atol=1e-6)

    def test_points_are_the_first_half_of_boxes(self):
        boxes = torch.rand(2, 5, 4)
        encoder = encoder_of()
        assert torch.equal(encoder.boxes(boxes)[..., :D], encoder.boxes(boxes[..., :2]))

    def test_cell_and_anchor_agree(self):
        """The last cell's position is 1 in both coordinates, as is that of an anchor there."""
        encoder = encoder_of(temperature=20)
        cells = encoder.cells(torch.zeros(1, 5, 7, dtype=torch.bool))
        corner = encoder.boxes(torch.tensor([1.0, 1.0]))
        torch.testing.assert_close(cells[0, -1, -1], corner, rtol=0, atol=1e-5)
        third = encoder.boxes(torch.tensor([3 / 7, 2 / 5]))
        torch.testing.assert_close(cells[0, 1, 2], third, rtol=0, atol=1e-5)

    def test_similarity_falls_with_distance(self):
        """Soft pooling: the dot product of an anchor with a cell is largest at the nearest cell."""
        encoder = encoder_of(temperature=20)
        cells = encoder.cells(torch.zeros(1, 10, 10, dtype=torch.bool))[0]
        similarity = cells @ encoder.boxes(torch.tensor([0.4, 0.7]))
        assert divmod(similarity.argmax().item(), 10) == (6, 3)

    def test_padding_is_not_counted(self):
        padding = torch.ones(1, 4, 6, dtype=torch.bool)
        padding[:, :2, :3] = False
        encoder = encoder_of()
        padded = encoder.cells(padding)[0, :2, :3]
        torch.testing.assert_close(padded, encoder.cells(torch.zeros(1, 2, 3, dtype=torch.bool))[0])

    def test_temperatures(self):
        boxes, padding = torch.rand(3, 4), torch.zeros(1, 3, 3, dtype=torch.bool)
        same, split, other = encoder_of(), encoder_of(box_temperature=10000), encoder_of(temperature=10000)
        assert torch.equal(same.cells(padding), split.cells(padding))
        assert torch.equal(other.boxes(boxes), split.boxes(boxes))
        assert not torch.equal(same.boxes(boxes), split.boxes(boxes))
        assert not torch.equal(same.cells(padding), other.cells(padding))

    def test_float32_whatever_the_input(self):
        assert encoder_of().boxes(torch.rand(3, 4, dtype=torch.bfloat16)).dtype == torch.float32

    @pytest.mark.parametrize('width', [15, 18])
    def test_odd_width_is_refused(self, width):
        with pytest.raises(ValueError, match=f'embed_dims={width} is not a multiple of 4'):
            MODELS.build(dict(type='mmdet_dab.SinePositionalEncoder', embed_dims=width))


class TestAnchorUpdate:
    def test_by_hand(self):
        update = MODELS.build(dict(type='mmdet_dab.AnchorUpdate'))
        moved = update.move(torch.tensor([0.5, 0.2]), torch.tensor([1.0, -1.0, 9.0, 9.0]))
        expected = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1) * 0.8 / 0.2)]
        np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-6)

    def test_eps_clamps_both_ends(self):
        update = MODELS.build(dict(type='mmdet_dab.AnchorUpdate', eps=1e-3))
        found = update.move(torch.tensor([0.0, 1.0]), torch.zeros(4))
        np.testing.assert_allclose(found.numpy(), [0.001 / 1.001, 1 / 1.001], rtol=1e-5)

    @pytest.mark.parametrize(('name', 'twice'), [('AnchorUpdate', True), ('DetachedAnchorUpdate', False)])
    def test_next_layer_starts_detached_and_boxes_may_be_measured_with_gradient(self, name, twice):
        update = MODELS.build(dict(type=name))
        anchors, delta = torch.rand(2, 5, 4), torch.randn(2, 5, 4, requires_grad=True)
        step = update(anchors, delta)
        torch.testing.assert_close(step.anchors, (anchors.logit(eps=1e-3) + delta.detach()).sigmoid())
        assert torch.equal(step.reference, step.anchors)
        assert not step.anchors.requires_grad
        assert step.reference.requires_grad == twice

    def test_inverse_sigmoid_is_the_inverse(self):
        x = torch.linspace(0.01, 0.99, 9)
        torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), x)

    def test_bad_eps_is_refused(self):
        with pytest.raises(ValueError, match='eps=0'):
            MODELS.build(dict(type='mmdet_dab.AnchorUpdate', eps=0))


SCALE, SIZES = dict(type='ContentScale', embed_dims=D), dict(type='SizeModulation', embed_dims=D)


class TestAnchorPositionalQuery:
    def build(self, **config):
        torch.manual_seed(0)
        return MODELS.build(dict(type='mmdet_dab.AnchorPositionalQuery', embed_dims=D, **config))

    def test_formula(self):
        """P = MLP(PE(anchor)); sine = PE(y, x) · MLP_csq(C) · (h_ref / h, w_ref / w)."""
        part, encoder = self.build(position_scale=SCALE, size_modulation=SIZES), encoder_of()
        anchors, content = torch.rand(2, 5, 4), torch.randn(2, 5, D)
        position = part(Queries(content, anchors), 1, encoder)
        torch.testing.assert_close(position.learned, part.learned(encoder.boxes(anchors)))
        w_ref, h_ref = part.size_modulation.reference_size(content).sigmoid().unbind(-1)
        scaled = encoder.boxes(anchors[..., :2]) * mlp(part.position_scale, content)
        scaled[..., : D // 2] *= (h_ref / anchors[..., 3])[..., None]
        scaled[..., D // 2 :] *= (w_ref / anchors[..., 2])[..., None]
        torch.testing.assert_close(position.sine, scaled)

    @pytest.mark.parametrize(('scale', 'factors'), [('ContentScale', D), ('ScalarScale', 1)])
    def test_content_scale_starts_at_the_second_layer(self, scale, factors):
        part, encoder = self.build(position_scale=dict(SCALE, type=scale)), encoder_of()
        queries = Queries(torch.randn(2, 5, D), torch.rand(2, 5, 4))
        plain, factor = encoder.boxes(queries.anchors[..., :2]), mlp(part.position_scale, queries.content)
        assert torch.equal(part(queries, 0, encoder).sine, plain)
        torch.testing.assert_close(part(queries, 1, encoder).sine, plain * factor)
        assert factor.size(-1) == factors

    def test_scale_per_layer(self):
        part, encoder = self.build(position_scale=dict(type='LayerScale', num_layers=2, embed_dims=D)), encoder_of()
        with torch.no_grad():
            part.position_scale.factors[1] = 3
        queries = Queries(torch.randn(2, 5, D), torch.rand(2, 5, 4))
        plain = encoder.boxes(queries.anchors[..., :2])
        assert torch.equal(part(queries, 0, encoder).sine, plain)
        assert torch.equal(part(queries, 1, encoder).sine, plain * 3)

    def test_no_scale(self):
        part, encoder = self.build(), encoder_of()
        queries = Queries(torch.randn(2, 5, D), torch.rand(2, 5, 4))
        assert torch.equal(part(queries, 1, encoder).sine, encoder.boxes(queries.anchors[..., :2]))

    def test_anchors_of_three_coordinates_are_refused(self):
        with pytest.raises(ValueError, match=r'anchor_dims=3 is not one of 2, 4'):
            self.build(anchor_dims=3)


def mlp(part, x):
    """What an MLP of two layers gives, by hand."""
    first, second = part.layers
    return (x @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias


def attention_by_hand(query, key, value, num_heads, padding=None):
    """softmax(Q Kᵀ / √E) V head by head; (B, N, D) each."""
    heads = []
    for q, k, v in zip(*(x.chunk(num_heads, -1) for x in (query, key, value)), strict=True):
        scores = q @ k.transpose(1, 2) / math.sqrt(q.size(-1))
        if padding is not None:
            scores = scores.masked_fill(padding[:, None], -math.inf)
        heads.append(scores.softmax(-1) @ v)
    return torch.cat(heads, -1)


def some_padding(batch=2, cells=12):
    padding = torch.zeros(batch, cells, dtype=torch.bool)
    padding[1, 7:] = True
    return padding


class TestAttentions:
    @pytest.mark.parametrize('padding', [None, some_padding()])
    def test_cell_self_attention_is_multihead_attention(self, padding):
        """torch's own module with the same weights: Q = K = content + position, V = content."""
        part = MODELS.build(dict(type='mmdet_dab.CellSelfAttention', embed_dims=D, num_heads=HEADS))
        oracle = nn.MultiheadAttention(D, HEADS, batch_first=True)
        with torch.no_grad():
            oracle.in_proj_weight.copy_(torch.cat([part.query.weight, part.key.weight, part.value.weight]))
            oracle.in_proj_bias.copy_(torch.cat([part.query.bias, part.key.bias, part.value.bias]))
            oracle.out_proj.load_state_dict(part.out.state_dict())
        cells = tokens(padding=padding)
        placed = cells.content + cells.position
        expected, _ = oracle(placed, placed, cells.content, key_padding_mask=padding)
        torch.testing.assert_close(part(cells.content, cells.position, cells), expected, rtol=0, atol=1e-6)

    def test_conditional_self_attention_by_hand(self):
        part = MODELS.build(dict(type='mmdet_dab.ConditionalSelfAttention', embed_dims=D, num_heads=HEADS))
        content, learned = torch.randn(2, 5, D), torch.randn(2, 5, D)
        query = part.query_content(content) + part.query_position(learned)
        key = part.key_content(content) + part.key_position(learned)
        expected = part.out(attention_by_hand(query, key, part.value(content), HEADS))
        found = part(content, QueryPosition(learned, torch.randn(2, 5, D)))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)

    def test_self_attention_mask_hides_queries(self):
        part = MODELS.build(dict(type='mmdet_dab.ConditionalSelfAttention', embed_dims=D, num_heads=HEADS))
        content, learned = torch.randn(1, 4, D), torch.randn(1, 4, D)
        mask = torch.zeros(4, 4, dtype=torch.bool)
        mask[:2, 2:] = mask[2:, :2] = True
        position = QueryPosition(learned, learned)
        alone = part(content[:, :2], QueryPosition(learned[:, :2], learned[:, :2]))
        torch.testing.assert_close(part(content, position, mask)[:, :2], alone, rtol=0, atol=1e-6)
        assert not torch.allclose(part(content, position)[:, :2], alone, atol=1e-3)

    @pytest.mark.parametrize('padding', [None, some_padding()])
    @pytest.mark.parametrize('first', [True, False])
    def test_conditional_cross_attention_by_hand(self, first, padding):
        """[content ; position] side by side in every head; in the first layer position in content, too."""
        part = MODELS.build(
            dict(
                type='mmdet_dab.ConditionalCrossAttention',
                embed_dims=D,
                num_heads=HEADS,
                position_in_content=first,
            )
        )
        cells = tokens(padding=padding)
        content, learned, sine = torch.randn(3, 2, 5, D)
        query, key = part.query_content(content), part.key_content(cells.content)
        sine_query, position_key = part.query_sine(sine), part.key_position(cells.position)
        if first:
            query, key = query + part.query_position(learned), key + position_key

        def beside(a, b):
            pairs = zip(a.chunk(HEADS, -1), b.chunk(HEADS, -1), strict=True)
            return torch.cat([half for pair in pairs for half in pair], -1)

        attended = attention_by_hand(
            beside(query, sine_query), beside(key, position_key), part.value(cells.content), HEADS, padding
        )
        found = part(content, QueryPosition(learned, sine), torch.rand(2, 5, 4), cells)
        torch.testing.assert_close(found, part.out(attended), rtol=0, atol=1e-6)
        assert (part.query_position is None) == (not first)

    @pytest.mark.parametrize('name', ['CellSelfAttention', 'ConditionalSelfAttention', 'ConditionalCrossAttention'])
    def test_heads_that_do_not_divide_are_refused(self, name):
        with pytest.raises(ValueError, match='num_heads=3 does not divide embed_dims=16'):
            MODELS.build(dict(type=f'mmdet_dab.{name}', embed_dims=D, num_heads=3))

    @pytest.mark.parametrize('name', ['CellSelfAttention', 'ConditionalSelfAttention', 'ConditionalCrossAttention'])
    def test_dropout_acts_in_training_only(self, name):
        part = MODELS.build(dict(type=f'mmdet_dab.{name}', embed_dims=D, num_heads=HEADS, dropout=0.5))
        cells, content, position = tokens(), torch.randn(2, 12, D), torch.randn(2, 12, D)
        pair = QueryPosition(position, position)
        inputs = {
            'CellSelfAttention': (content, position, cells),
            'ConditionalSelfAttention': (content, pair),
            'ConditionalCrossAttention': (content, pair, torch.rand(2, 12, 4), cells),
        }[name]
        part.eval()
        assert torch.equal(part(*inputs), part(*inputs))
        part.train()
        assert not torch.equal(part(*inputs), part(*inputs))


class TestFeedForwardAndLayers:
    def test_feed_forward_by_hand(self):
        part = MODELS.build(dict(type='mmdet_dab.FeedForward', embed_dims=D, hidden_dims=8))
        x = torch.randn(2, 3, D)
        hidden = x @ part.expand.weight.T + part.expand.bias
        hidden = torch.where(hidden > 0, hidden, 0.25 * hidden)  # a PReLU starts at 0.25
        torch.testing.assert_close(part(x), hidden @ part.shrink.weight.T + part.shrink.bias, rtol=0, atol=1e-6)

    def test_activation_is_a_config(self):
        config = dict(type='mmdet_dab.FeedForward', embed_dims=D, hidden_dims=8, act_cfg=dict(type='ReLU'))
        assert isinstance(MODELS.build(config).activation, nn.ReLU)

    def test_encoder_layer_is_torchs(self):
        """torch's own post-norm layer, with ReLU and the same weights."""
        part = MODELS.build(encoder_layer(act_cfg=dict(type='ReLU'))).eval()
        oracle = nn.TransformerEncoderLayer(D, HEADS, 8, dropout=0.0, batch_first=True).eval()
        attention = part.self_attention
        with torch.no_grad():
            names = ('query', 'key', 'value')
            oracle.self_attn.in_proj_weight.copy_(torch.cat([getattr(attention, n).weight for n in names]))
            oracle.self_attn.in_proj_bias.copy_(torch.cat([getattr(attention, n).bias for n in names]))
        oracle.self_attn.out_proj.load_state_dict(attention.out.state_dict())
        oracle.linear1.load_state_dict(part.feed_forward.expand.state_dict())
        oracle.linear2.load_state_dict(part.feed_forward.shrink.state_dict())
        cells = tokens()
        found = part(cells.content, torch.zeros_like(cells.position), cells)
        torch.testing.assert_close(found, oracle(cells.content), rtol=0, atol=1e-5)

    def test_encoder_scales_positions_by_content(self):
        plain = dict(type='mmdet_dab.TransformerEncoder', num_layers=2, embed_dims=D, layer=encoder_layer())
        encoder = MODELS.build(dict(plain, position_scale=SCALE))
        cells = tokens()
        content = cells.content
        for layer in encoder.layers:
            content = layer(content, cells.position * mlp(encoder.position_scale, content), cells)
        torch.testing.assert_close(encoder(cells).content, content)
        assert encoder(cells).position is cells.position
        unscaled = MODELS.build(plain)
        assert unscaled.position_scale is None
        unscaled.layers.load_state_dict(encoder.layers.state_dict())
        assert not torch.allclose(unscaled(cells).content, content)


def encoder_layer(**feed_forward):
    return dict(
        type='mmdet_dab.EncoderLayer',
        embed_dims=D,
        self_attention=dict(type='mmdet_dab.CellSelfAttention', embed_dims=D, num_heads=HEADS),
        feed_forward=dict(type='mmdet_dab.FeedForward', embed_dims=D, hidden_dims=8, **feed_forward),
    )


class TestQueryGenerator:
    def build(self, **config):
        torch.manual_seed(0)
        initial = dict(type='mmdet_dab.NormalAnchors')
        part = dict(type='mmdet_dab.AnchorQueryGenerator', initial_anchors=initial, num_queries=5, embed_dims=D)
        return MODELS.build(part | config)

    def test_plain(self):
        part = self.build()
        queries = part(tokens())
        assert queries.content.shape == (2, 5, D)
        assert not queries.content.any()
        expected = torch.cat((part.centers, part.sizes), 1).sigmoid()
        assert torch.equal(queries.anchors[0], expected)
        assert torch.equal(queries.anchors[1], expected)

    def test_points(self):
        part = self.build(anchor_dims=2)
        assert part(tokens()).anchors.shape == (2, 5, 2)
        assert part.sizes is None

    def test_patterns_are_major(self):
        """Query p·A + a has pattern p and anchor a."""
        part = self.build(num_patterns=3)
        queries = part(tokens())
        assert queries.content.shape == (2, 15, D)
        for pattern in range(3):
            for anchor in range(5):
                assert torch.equal(queries.content[1, pattern * 5 + anchor], part.patterns[pattern])
                assert torch.equal(queries.anchors[1, pattern * 5 + anchor], part.anchors()[anchor])

    @pytest.mark.parametrize('fixed', [True, False])
    def test_fixed_centers_do_not_move(self, fixed):
        """Steps with weight decay move w and h, and x and y unless they are fixed (design: fact 10)."""
        part = self.build(fixed_centers=fixed)
        centers, sizes = part.centers.clone(), part.sizes.clone()
        optimizer = torch.optim.AdamW(part.parameters(), lr=0.1, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            part(tokens()).anchors.sum().backward()
            optimizer.step()
        assert torch.equal(part.centers, centers) == fixed
        assert not torch.equal(part.sizes, sizes)
        assert 'centers' in part.state_dict()

    def test_fixed_and_learned_exchange_weights(self):
        fixed, learned = self.build(fixed_centers=True), self.build()
        learned.load_state_dict(fixed.state_dict(), strict=True)
        assert torch.equal(learned.anchors(), fixed.anchors())

    def test_seed_reproduces(self):
        assert torch.equal(self.build().anchors(), self.build().anchors())

    @pytest.mark.parametrize(
        ('config', 'message'),
        [(dict(anchor_dims=3), 'anchor_dims=3'), (dict(num_patterns=-1), 'num_patterns=-1')],
    )
    def test_bad_values_are_refused(self, config, message):
        with pytest.raises(ValueError, match=message):
            self.build(**config)


class TestInitialAnchors:
    def anchors(self, number=1000, **config):
        torch.manual_seed(0)
        return TASK_UTILS.build(config)(number).sigmoid()

    def test_normal(self):
        torch.manual_seed(0)
        logits = TASK_UTILS.build(dict(type='mmdet_dab.NormalAnchors'))(10000)
        assert logits.shape == (10000, 4)
        np.testing.assert_allclose(logits.mean(0), 0, atol=0.05)
        np.testing.assert_allclose(logits.std(0), 1, atol=0.05)

    @pytest.mark.parametrize('kind', ['UniformAnchors', 'GridAnchors'])
    def test_size(self, kind):
        square = self.anchors(type=f'mmdet_dab.{kind}', size=0.15)
        np.testing.assert_allclose(square[:, 2:], 0.15, rtol=1e-5)
        wide = self.anchors(type=f'mmdet_dab.{kind}', size=(0.4, 0.1))
        np.testing.assert_allclose(wide[:, 2:], [[0.4, 0.1]] * 1000, rtol=1e-5)
        free = self.anchors(type=f'mmdet_dab.{kind}')
        assert free[:, 2:].logit().std() == pytest.approx(1, abs=0.1)

    def test_uniform_centers(self):
        centers = self.anchors(type='mmdet_dab.UniformAnchors', size=0.1)[:, :2]
        for edge in (0.25, 0.5, 0.75):
            np.testing.assert_allclose((centers < edge).float().mean(0), edge, atol=0.05)

    def test_grid_centers(self):
        """6 anchors: 2 rows of 3; 7: 3 rows of 2, 2 and 3."""
        six = self.anchors(6, type='mmdet_dab.GridAnchors', size=0.1)[:, :2]
        thirds = [1 / 6, 3 / 6, 5 / 6]
        np.testing.assert_allclose(six, [(x, y) for y in (0.25, 0.75) for x in thirds], atol=1e-6)
        seven = self.anchors(7, type='mmdet_dab.GridAnchors', size=0.1)[:, 1].tolist()
        assert sorted(seven.count(y) for y in set(seven)) == [2, 2, 3]

    @pytest.mark.parametrize('size', [0, 1.5, (0.1, 0.2, 0.3), (0.1, -1)])
    def test_bad_size_is_refused(self, size):
        with pytest.raises(ValueError, match='must be a number or'):
            TASK_UTILS.build(dict(type='mmdet_dab.UniformAnchors', size=size))
