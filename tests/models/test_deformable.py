"""Deformable attention and what DAB-Deformable-DETR is made of besides."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import mmcv.ops
import mmcv.ops.multi_scale_deform_attn as mmcv_attention
import numpy as np
import pytest
import torch
from mmdet.models.layers.transformer import DeformableDetrTransformerEncoder
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from mmdet_dab import compat
from mmdet_dab.checkpoints import CheckpointError
from mmdet_dab.checkpoints.authors_deformable import convert_deformable
from mmdet_dab.models import ImageTokens, Queries, QueryPosition, deformable_attention
from mmdet_dab.models.deformable_attention import sample_compiled, sample_grid
from mmdet_dab.models.layers import MLP
from mmdet_dab.models.tokenizer import canvas_padding
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.paths import CONFIGS

D, HEADS, POINTS = 16, 4, 3
SHAPES = ((4, 8), (2, 4))
CELLS = sum(height * width for height, width in SHAPES)


def part_of(name, **config):
    return MODELS.build(dict(type=name, embed_dims=D, **config))


def attention_of(name, num_levels=2):
    """With random weights in the place of the directed start, which would hide mixed-up axes."""
    torch.manual_seed(0)
    part = part_of(name, num_heads=HEADS, num_levels=num_levels, num_points=POINTS)
    nn.init.normal_(part.sampling_offsets.bias)
    return part


def encoder_of(**config):
    return part_of('SinePositionalEncoder', temperature=20, **config)


def tokens_of(features, size, canvas):
    """Tokens of one image of ``size`` (h, w) pixels on a canvas (H, W)."""
    torch.manual_seed(5)
    tokenizer = part_of('ImageTokenizer', num_levels=len(features))
    samples = [DetDataSample(metainfo=dict(img_shape=size)) for _ in features[0]]
    with torch.no_grad():
        return tokenizer(features, canvas_padding(samples, torch.zeros(1, 3, *canvas)), encoder_of(offset=0.5))


def padded_batch():
    """Two images on two levels, the second padded to 3/4 and 1/2 at level 0, to 1 and 1/2 at level 1."""
    torch.manual_seed(1)
    ratios = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.75, 0.5], [1.0, 0.5]]])
    padding = torch.zeros(2, CELLS, dtype=torch.bool)
    padding[1] = torch.cat([outside(shape, ratio).flatten() for shape, ratio in zip(SHAPES, ratios[1], strict=True)])
    return ImageTokens(torch.randn(2, CELLS, D), torch.randn(2, CELLS, D), padding, SHAPES, ratios)


def outside(shape, ratio):
    mask = torch.ones(shape, dtype=torch.bool)
    mask[: round(shape[0] * ratio[1].item()), : round(shape[1] * ratio[0].item())] = False
    return mask


def sampling_arguments(dtype=torch.float64, batch=2, queries=5):
    """Values, locations (some of them outside) and weights for two levels."""
    generator = torch.Generator().manual_seed(3)
    value = torch.randn(batch, CELLS, HEADS, D // HEADS, generator=generator, dtype=dtype)
    per_head = (batch, queries, HEADS, len(SHAPES), POINTS)
    locations = torch.rand(*per_head, 2, generator=generator, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(*per_head, generator=generator, dtype=dtype)
    return value, SHAPES, locations, weights


class TestSampling:
    def test_by_hand(self):
        """Cells 1 2 / 3 4. Inside: a cell's own value, the mean of four, a half way. Border: zeros beyond it."""
        value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
        points = {(0.25, 0.25): 1, (0.5, 0.5): 2.5, (0.75, 0.5): 3, (0.0, 0.0): 0.25, (0.75, 1.0): 2, (1.3, 0.5): 0}
        locations = torch.tensor(list(points)).view(1, len(points), 1, 1, 1, 2)
        found = sample_grid(value, ((2, 2),), locations, torch.ones(1, len(points), 1, 1, 1))
        np.testing.assert_allclose(found.flatten(), list(points.values()), atol=1e-6)

    def test_weights_by_hand(self):
        """Two levels, two points: 0.1 · 1 + 0.2 · 4 + 0.3 · 5 + 0.4 · 0 (beyond the border)."""
        value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).view(1, 5, 1, 1)
        locations = torch.tensor([[[0.25, 0.25], [0.75, 0.75]], [[0.5, 0.5], [2.0, 0.5]]]).view(1, 1, 1, 2, 2, 2)
        weights = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).view(1, 1, 1, 2, 2)
        assert sample_grid(value, ((2, 2), (1, 1)), locations, weights).item() == pytest.approx(2.4)

    def test_against_mmcv(self):
        value, shapes, locations, weights = sampling_arguments()
        theirs = mmcv_attention.multi_scale_deformable_attn_pytorch(value, torch.tensor(shapes), locations, weights)
        torch.testing.assert_close(sample_grid(value, shapes, locations, weights), theirs, rtol=0, atol=1e-14)

    def test_gradients(self):
        value, shapes, locations, weights = sampling_arguments(batch=1, queries=2)
        inputs = [x.requires_grad_() for x in (value, locations, weights)]
        assert torch.autograd.gradcheck(lambda v, x, w: sample_grid(v, shapes, x, w), inputs)

    def test_compiled_operation_gets_what_it_wants(self, monkeypatch):
        """In the place of the operation, a function that reads its arguments as mmcv's documentation says."""

        def operation(value, sizes, starts, locations, weights, step):
            assert starts.tolist() == [0, 32]
            assert len(value) % step == 0
            assert all(x.is_contiguous() for x in (value, locations, weights))
            return mmcv_attention.multi_scale_deformable_attn_pytorch(value, sizes, locations, weights)

        monkeypatch.setattr(mmcv_attention.MultiScaleDeformableAttnFunction, 'apply', operation)
        value, *others = sampling_arguments()
        value = value.transpose(1, 2).contiguous().transpose(1, 2)
        torch.testing.assert_close(sample_compiled(value, *others), sample_grid(value, *others), rtol=0, atol=1e-14)

    @pytest.mark.parametrize(
        ('on_gpu', 'compiled', 'cuda', 'expected'),
        [
            (True, True, '12.1', True),
            (False, True, '12.1', False),
            (True, False, '12.1', False),
            (True, True, 'not available', False),
        ],
    )
    def test_compiled_operation_only_where_it_works(self, monkeypatch, on_gpu, compiled, cuda, expected):
        monkeypatch.setattr(compat, 'has_compiled_operations', lambda: compiled)
        monkeypatch.setattr(mmcv.ops, 'get_compiling_cuda_version', lambda: cuda)
        taken = []
        for name in ('sample_compiled', 'sample_grid'):
            monkeypatch.setattr(deformable_attention, name, lambda *arguments, name=name: taken.append(name))
        deformable_attention.sample_levels(SimpleNamespace(is_cuda=on_gpu), SHAPES, None, None)
        assert taken == ['sample_compiled' if expected else 'sample_grid']

    def test_stand_in_is_no_compiled_module(self, monkeypatch):
        monkeypatch.setitem(sys.modules, 'mmcv._ext', compat._MissingExtension('mmcv._ext'))
        assert not compat.has_compiled_operations()
        monkeypatch.setitem(sys.modules, 'mmcv._ext', ModuleType('mmcv._ext'))
        assert compat.has_compiled_operations()

    @pytest.mark.skipif(not torch.cuda.is_available(), reason='compares a GPU with the CPU')
    def test_on_a_gpu(self):
        """Whichever of the two is taken there."""
        value, shapes, locations, weights = sampling_arguments(torch.float32)
        found = deformable_attention.sample_levels(value.cuda(), shapes, locations.cuda(), weights.cuda())
        torch.testing.assert_close(found.cpu(), sample_grid(value, shapes, locations, weights), rtol=0, atol=1e-5)


def mmcv_attention_like(part, num_levels=2):
    """mmcv's attention with the weights of ours."""
    theirs = mmcv_attention.MultiScaleDeformableAttention(
        D, HEADS, num_levels, POINTS, dropout=0.0, batch_first=True
    ).eval()
    names = {'value.': 'value_proj.', 'out.': 'output_proj.'}
    state = part.state_dict()
    for ours, name in names.items():
        state = {key.replace(ours, name) if key.startswith(ours) else key: x for key, x in state.items()}
    theirs.load_state_dict(state, strict=True)
    return theirs


def theirs_of(part, tokens, query, content, references):
    sizes = torch.tensor(tokens.shapes)
    starts = torch.cat((sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]))
    return mmcv_attention_like(part)(
        query,
        value=content,
        identity=torch.zeros_like(query),
        key_padding_mask=tokens.padding,
        reference_points=references,
        spatial_shapes=sizes,
        level_start_index=starts,
    )


class TestAttention:
    def test_encoder_against_mmcv_and_mmdet(self):
        part, tokens = attention_of('DeformableCellAttention'), padded_batch()
        content = torch.randn(2, CELLS, D)
        references = DeformableDetrTransformerEncoder.get_encoder_reference_points(
            torch.tensor(SHAPES), tokens.valid_ratios, 'cpu'
        )
        theirs = theirs_of(part, tokens, content + tokens.position, content, references)
        torch.testing.assert_close(part(content, tokens.position, tokens), theirs, rtol=0, atol=2e-6)

    def test_decoder_against_mmcv(self):
        part, tokens = attention_of('DeformableCrossAttention'), padded_batch()
        content, learned, anchors = torch.randn(2, 5, D), torch.randn(2, 5, D), torch.rand(2, 5, 4)
        references = anchors[:, :, None] * torch.cat((tokens.valid_ratios, tokens.valid_ratios), -1)[:, None]
        theirs = theirs_of(part, tokens, content + learned, tokens.content, references)
        found = part(content, QueryPosition(learned, torch.full_like(learned, torch.nan)), anchors, tokens)
        torch.testing.assert_close(found, theirs, rtol=0, atol=2e-6)

    @pytest.mark.parametrize('name', ['DeformableCellAttention', 'DeformableCrossAttention'])
    def test_start_is_that_of_mmcv(self, name):
        """Heads in directions of their own, points at 1, 2, 3; no weight prefers a point."""
        part = part_of(name, num_heads=8, num_levels=2, num_points=POINTS)
        nn.init.normal_(part.attention_weights.weight)
        part.init_weights()
        theirs = mmcv_attention.MultiScaleDeformableAttention(D, 8, 2, POINTS)
        torch.testing.assert_close(part.sampling_offsets.bias, theirs.sampling_offsets.bias)
        # The eight cells around one, clockwise as y points down.
        around = torch.tensor([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]])
        offsets = part.sampling_offsets.bias.view(8, 2, POINTS, 2)
        torch.testing.assert_close(offsets[:, 1, 2], 3.0 * around, rtol=0, atol=1e-5)
        assert not any(x.any() for x in (part.sampling_offsets.weight, *part.attention_weights.parameters()))
        assert not any(x.any() for x in (part.value.bias, part.out.bias))
        assert part.value.weight.std().item() == pytest.approx((2 / (D + D)) ** 0.5, rel=0.15)

    def test_gradients(self):
        """In float64, to queries, anchors and cells, through padding."""
        part = attention_of('DeformableCrossAttention').double()
        tokens = padded_batch()

        def attend(content, learned, anchors, cells):
            return part(
                content,
                QueryPosition(learned, learned),
                anchors,
                ImageTokens(cells, tokens.position, tokens.padding, SHAPES, tokens.valid_ratios.double()),
            )

        torch.manual_seed(2)
        sizes = ((2, 2, D), (2, 2, D), (2, 2, 4), (2, CELLS, D))
        inputs = [torch.rand(size, dtype=torch.float64, requires_grad=True) for size in sizes]
        assert torch.autograd.gradcheck(attend, inputs, fast_mode=True)

    def test_heads_must_divide_the_width(self):
        with pytest.raises(ValueError, match='DeformableCellAttention: num_heads=3 does not divide embed_dims=16'):
            part_of('DeformableCellAttention', num_heads=3)


def columns(height, width):
    return torch.arange(float(width)).repeat(height, 1)


def rows(height, width):
    return torch.arange(float(height))[:, None].repeat(1, width)


class TestReferences:
    """Anchors are parts of the image; each level is a canvas of which the image is the valid ratio."""

    def test_two_levels_by_hand(self):
        """The image fills (3/4, 1/2) of level 0 and (1, 1/2) of level 1, as rounding to whole cells gives it."""
        anchors = torch.tensor([[[0.4, 0.6, 0.2, 0.8]], [[0.4, 0.6, 0.2, 0.8]]])
        found = padded_batch().on_canvas(anchors)
        np.testing.assert_allclose(found[0, 0], [[0.4, 0.6, 0.2, 0.8], [0.4, 0.6, 0.2, 0.8]])
        np.testing.assert_allclose(found[1, 0], [[0.3, 0.3, 0.15, 0.4], [0.4, 0.3, 0.2, 0.4]], rtol=1e-6)

    @staticmethod
    def ruler(values):
        """Tokens whose cells say in which column or row of their level they are; the second image of above."""
        batch = padded_batch()
        content = torch.cat([values(height, width).flatten() for height, width in SHAPES])
        return ImageTokens(
            content.expand(1, 1, -1).transpose(1, 2).repeat(1, 1, 4),
            torch.zeros(1, CELLS, 4),
            batch.padding[1:],
            SHAPES,
            batch.valid_ratios[1:],
        )

    @pytest.mark.parametrize(
        ('values', 'offset', 'expected'),
        [
            # Columns: level 0 has 8, x = 0.4 · 3/4: 0.3 · 8 - 0.5 = 1.9; level 1 has 4: 0.4 · 4 - 0.5 = 1.1.
            (columns, (0, 0), (1.9 + 1.1) / 2),
            # One to the right is half the width, 0.1: 0.5 · 3/4 · 8 - 0.5 = 2.5 and 0.5 · 4 - 0.5 = 1.5.
            (columns, (1, 0), (2.5 + 1.5) / 2),
            # Rows, level 0 has 4: y = 0.5 · 1/2 -> 0.25 · 4 - 0.5 = 0.5; level 1 has 2: 0.25 · 2 - 0.5 = 0. Of its
            # two rows the second is padding, which counts as zero.
            (rows, (0, 0), (0.5 + 0.0) / 2),
            # One up is half the height, 0.1: 0.4 · 1/2 · 4 - 0.5 = 0.3; level 1 has row 0 and nothing above.
            (rows, (0, -1), (0.3 + 0.0) / 2),
        ],
    )
    def test_attention_on_two_levels_by_hand(self, values, offset, expected):
        """One head, one point, equal weights, identity projections: what comes out is where it looked."""
        part = MODELS.build(
            dict(type='DeformableCrossAttention', embed_dims=4, num_heads=1, num_levels=2, num_points=1)
        )
        part.init_weights()
        with torch.no_grad():
            part.sampling_offsets.bias.copy_(torch.tensor(offset).repeat(2))
            part.value.weight.copy_(torch.eye(4))
            part.out.weight.copy_(torch.eye(4))
        nothing = torch.zeros(1, 1, 4)
        anchor = torch.tensor([[[0.4, 0.5, 0.2, 0.2]]])
        found = part(nothing, QueryPosition(nothing, nothing), anchor, self.ruler(values))
        np.testing.assert_allclose(found.detach().flatten(), [expected] * 4, atol=1e-6)

    @pytest.mark.parametrize('on_canvas', [False, True])
    def test_every_layer_by_hand(self, on_canvas):
        """What layers are handed. The first is no exception: its anchors have a batch axis like all others.

        The anchor (0.4, 0.6, 0.2, 0.8) of the second image, on the canvas of level 0: (0.3, 0.3, 0.15, 0.4).
        The layers look around the anchor of the image either way; the ratios are the attention's affair.
        """
        decoder = decoder_of(anchor_frame=FRAMES[on_canvas], anchor_update=None)
        encoded, seen = [], []
        decoder.positional_query.register_forward_hook(
            lambda part, args, out: encoded.append(args[0].anchors[:, 0].tolist())
        )
        for layer in decoder.layers:
            layer.register_forward_hook(lambda part, args, out: seen.append(args[2][:, 0].tolist()))
        anchors = torch.tensor([0.4, 0.6, 0.2, 0.8]).expand(2, 3, 4)
        run(decoder, padded_batch(), anchors)
        image, canvas = [0.4, 0.6, 0.2, 0.8], [0.3, 0.3, 0.15, 0.4]
        np.testing.assert_allclose(encoded, [[image, canvas if on_canvas else image]] * 2, rtol=1e-6)
        np.testing.assert_allclose(seen, [[image, image]] * 2, rtol=1e-6)


#: Whether anchors are encoded on the canvas -> the decoder's frame.
FRAMES = {False: None, True: dict(type='CanvasFrame')}


def decoder_of(**overrides):
    """A deformable decoder of two layers over two levels, with random weights."""
    torch.manual_seed(4)
    dims = dict(embed_dims=D)
    layer = dict(
        type='DecoderLayer',
        self_attention=dict(type='QuerySelfAttention', num_heads=HEADS, **dims),
        cross_attention=dict(type='DeformableCrossAttention', num_heads=HEADS, num_levels=2, num_points=POINTS, **dims),
        feed_forward=dict(type='FeedForward', hidden_dims=32, **dims),
        **dims,
    )
    config = dict(
        type='TransformerDecoder',
        num_layers=2,
        layer=layer,
        positional_query=dict(
            type='DeformablePositionalQuery', position_scale=dict(type='ContentScale', **dims), **dims
        ),
        anchor_update=dict(type='AnchorUpdate'),
        **dims,
    )
    return MODELS.build({**config, **overrides})


def run(decoder, tokens, anchors, box_offset=lambda content, layer: content[..., :4]):
    torch.manual_seed(6)
    content = torch.randn(1, anchors.size(1), D).expand(len(anchors), -1, -1)
    return decoder(Queries(content, anchors), tokens, encoder_of(), box_offset)


class TestPaddingIndependence:
    """A image alone, and on a canvas twice as wide and high, with noise on the padding."""

    @staticmethod
    def pair():
        torch.manual_seed(7)
        alone = [torch.randn(1, D, height, width) for height, width in SHAPES]
        padded = [torch.randn(1, D, 2 * height, 2 * width) for height, width in SHAPES]
        for small, large in zip(alone, padded, strict=True):
            large[..., : small.size(2), : small.size(3)] = small
        return tokens_of(alone, (32, 64), (32, 64)), tokens_of(padded, (32, 64), (64, 128))

    def test_encoder(self):
        alone, padded = self.pair()
        part = attention_of('DeformableCellAttention')
        expected = part(alone.content, alone.position, alone)
        found = part(padded.content, padded.position, padded)[~padded.padding][None]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)

    @pytest.mark.parametrize('on_canvas', [False, True])
    def test_decoder(self, on_canvas):
        """The default does not see the canvas; the released way of encoding anchors does."""
        alone, padded = self.pair()
        decoder = decoder_of(anchor_frame=FRAMES[on_canvas])
        anchors = torch.rand(1, 5, 4)
        expected, found = run(decoder, alone, anchors), run(decoder, padded, anchors)
        difference = (found.states - expected.states).abs().max()
        if on_canvas:
            assert difference > 0.01
        else:
            assert difference < 5e-6


class TestParts:
    def test_self_attention_is_that_of_torch(self):
        """``nn.MultiheadAttention`` holds the three projections in one matrix."""
        torch.manual_seed(0)
        part, theirs = part_of('QuerySelfAttention', num_heads=HEADS), nn.MultiheadAttention(D, HEADS, batch_first=True)
        with torch.no_grad():
            theirs.in_proj_weight.copy_(torch.cat((part.query.weight, part.key.weight, part.value.weight)))
            theirs.in_proj_bias.copy_(torch.cat((part.query.bias, part.key.bias, part.value.bias)))
            theirs.out_proj.load_state_dict(part.out.state_dict())
        content, learned = torch.randn(2, 5, D), torch.randn(2, 5, D)
        mask = torch.rand(5, 5) < 0.3
        mask.fill_diagonal_(False)
        placed = content + learned
        for blocked in (None, mask):
            expected = theirs(placed, placed, content, attn_mask=blocked, need_weights=False)[0]
            found = part(content, QueryPosition(learned, torch.full_like(learned, torch.nan)), blocked)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)

    def test_positional_query(self):
        """P alone in the first layer, P · MLP(content) after it; PE(x, y) beside it as it is."""
        torch.manual_seed(0)
        scale = dict(type='ContentScale', embed_dims=D)
        part, encoder = part_of('DeformablePositionalQuery', position_scale=scale), encoder_of()
        anchors, content = torch.rand(2, 3, 4), torch.randn(2, 3, D)
        code = encoder.boxes(anchors)
        learned = part.learned(code)
        queries = Queries(content, anchors)
        assert torch.equal(part(queries, 0, encoder).learned, learned)
        found = part(queries, 1, encoder)
        factors = MLP.forward(part.position_scale, content)
        torch.testing.assert_close(found.learned, learned * factors)
        assert torch.equal(found.sine, code[..., :D])

    def test_cells_are_encoded_at_their_centre(self):
        """Offset 0.5: cell (1, 2) of 4 × 6 lies where an anchor at y = 1.5 / 4, x = 2.5 / 6 does."""
        cells = encoder_of(offset=0.5).cells(torch.zeros(1, 4, 6, dtype=torch.bool))
        anchor = encoder_of().boxes(torch.tensor([2.5 / 6, 1.5 / 4]))
        torch.testing.assert_close(cells[0, 1, 2], anchor, rtol=0, atol=1e-5)

    def test_learned_content_belongs_to_its_anchor(self):
        part = part_of(
            'AnchorQueryGenerator',
            num_queries=3,
            num_patterns=2,
            learned_content=True,
            initial_anchors=dict(type='NormalAnchors'),
        )
        queries = part(padded_batch())
        torch.testing.assert_close(queries.content[1, 4], part.content[1] + part.patterns[1])
        torch.testing.assert_close(queries.anchors[1, 4], part.anchors()[1])
        part.patterns = None
        assert torch.equal(part(padded_batch()).content[1], part.content)

    @pytest.mark.parametrize(('kind', 'twice'), [('DetachedAnchorUpdate', False), ('AnchorUpdate', True)])
    def test_looking_forward_twice(self, kind, twice):
        """The boxes of the second layer train the update before it, or they do not."""
        update = torch.zeros(4, requires_grad=True)
        decoder = decoder_of(anchor_update=dict(type=kind))
        output = run(decoder, padded_batch(), torch.rand(2, 5, 4), lambda content, layer: update.expand(2, 5, 4) + 0.1)
        assert output.references.requires_grad == twice
        assert not torch.equal(output.references[0], output.references[1])
        if twice:
            output.references[1].sum().backward()
            assert (update.grad > 0).all()

    def test_final_norm(self):
        last = []
        for final_norm in (True, False):
            decoder = decoder_of(final_norm=final_norm)
            decoder.layers[-1].register_forward_hook(lambda part, args, out: last.append(out))
            nn.init.constant_(decoder.layers[-1].feed_forward_norm.weight, 3.0)  # or norming twice would change nothing
            states = run(decoder, padded_batch(), torch.rand(2, 5, 4)).states
            assert torch.equal(states[-1], last[-1]) != final_norm


def tiny_model(**overrides):
    """The project's DAB-Deformable-DETR at width 32: half a ResNet-18, 2 + 2 layers, 3 classes, 7 queries."""
    config = Config.fromfile(CONFIGS / '_base_/models/dab_deformable_detr_r50.py')
    changes = dict(
        embed_dims=tiny.WIDTH,
        hidden_dims=64,
        num_classes=3,
        num_queries=7,
        backbone=dict(depth=18, base_channels=8, stem_channels=8, init_cfg=None),
        neck=dict(in_channels=[16, 32, 64]),
        encoder=dict(num_layers=2),
        decoder=dict(num_layers=2),
        bbox_head=dict(selection=dict(max_per_img=10)),
    )
    config.merge_from_dict({'model': changes})
    config.merge_from_dict({'model': overrides})
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model.eval()


class TestModel:
    def test_released_config_differs_on_padded_images_only(self):
        changed = Config.fromfile(CONFIGS / 'dab_deformable_detr_r50_50e_released.py').model
        default = Config.fromfile(CONFIGS / 'dab_deformable_detr_r50_50e.py').model
        assert changed.decoder.pop('anchor_frame') == FRAMES[True]
        assert changed == default
        models = tiny_model(), tiny_model(decoder=dict(anchor_frame=FRAMES[True]))
        for model in models:
            tiny.shake(model)
        images, samples = tiny.batch([(64, 96), (48, 64)])
        with torch.no_grad():
            ours, released = (model(images, samples, mode='tensor')[0] for model in models)
        torch.testing.assert_close(ours[:, 0], released[:, 0], rtol=0, atol=1e-5)
        assert (ours[:, 1] - released[:, 1]).abs().amax((1, 2)).min() > 1e-3

    def test_branches_per_layer(self):
        """Class branch 1 changes the logits of layer 1 alone."""
        model = tiny_model()
        images, samples = tiny.batch()
        with torch.no_grad():
            before = model(images, samples, mode='tensor')[0]
            model.bbox_head.class_branches[1].bias += 1
            after = model(images, samples, mode='tensor')[0]
        torch.testing.assert_close(after - before, torch.tensor([0.0, 1.0])[:, None, None, None].expand_as(after))
        names = [name for name, _ in model.named_parameters() if 'class_branch' in name]
        assert names == [f'bbox_head.class_branches.{layer}.{kind}' for layer in (0, 1) for kind in ('weight', 'bias')]

    def test_boxes_start_smaller_than_anchors(self):
        """By 2 before the sigmoid, once: the second layer starts from the boxes of the first."""
        model = tiny_model()
        with torch.no_grad():
            _, boxes = model(*tiny.batch(), mode='tensor')
        anchors = model.query_generator.anchors()
        expected = torch.cat((anchors[:, :2], (anchors[:, 2:].logit() - 2).sigmoid()), 1).expand_as(boxes)
        torch.testing.assert_close(boxes, expected, rtol=0, atol=1e-5)
        logits = [branch.bias.sigmoid().max().item() for branch in model.bbox_head.class_branches]
        assert logits == pytest.approx([0.01] * 2)

    def test_sampling_is_exact_under_autocast(self, monkeypatch):
        """bfloat16 has 8 bits: it cannot tell neighbouring cells of a large map apart."""
        kinds = []

        def recorded(value, shapes, locations, weights):
            kinds.extend(x.dtype for x in (value, locations, weights))
            return sample_grid(value, shapes, locations, weights)

        monkeypatch.setattr(deformable_attention, 'sample_levels', recorded)
        model = tiny_model().train()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            losses = model(*tiny.batch(), mode='loss')
        sum(losses.values()).backward()
        assert kinds == [torch.float32] * 3 * 4
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.requires_grad)

    @pytest.mark.parametrize(
        ('overrides', 'message'),
        [
            (
                dict(tokenizer=dict(num_levels=3)),
                r'has maps=4, but tokenizer \(ImageTokenizer\) has maps=3',
            ),
            (
                dict(neck=dict(num_outs=3), tokenizer=dict(num_levels=3)),
                r'tokenizer \(ImageTokenizer\) has levels=3, but encoder',
            ),
            (dict(anchor_dims=2), r'has anchor_dims=2, but decoder.layers.0.cross_attention'),
            (
                dict(bbox_head=dict(num_layers=3)),
                r'num_layers=2, but bbox_head \(SetPredictionHead\) has num_layers=3',
            ),
            (
                dict(bbox_head=dict(per_layer=('class',), num_layers=3)),
                r'num_layers=2, but bbox_head \(SetPredictionHead\) has num_layers=3',
            ),
        ],
    )
    def test_contradictions_are_refused(self, overrides, message):
        with pytest.raises(ValueError, match=message):
            tiny_model(**overrides)


class TestConverter:
    def test_class_rows_of_every_layer(self):
        rows = torch.arange(91.0)
        state = {f'class_embed.{layer}.bias': rows + 100 * layer for layer in range(2)}
        found = convert_deformable({'model': state}, num_classes=80)
        for layer in range(2):
            kept = found[f'bbox_head.class_branches.{layer}.bias'] - 100 * layer
            assert (len(kept), kept[0], kept[11], kept[-1]) == (80, 1, 13, 90)

    def test_packed_projections_of_the_decoder(self):
        packed = torch.arange(6.0)
        state = {'class_embed.0.bias': torch.zeros(91), 'transformer.decoder.layers.3.self_attn.in_proj_bias': packed}
        found = convert_deformable(state)
        names = [f'decoder.layers.3.self_attention.{role}.bias' for role in ('query', 'key', 'value')]
        assert torch.equal(torch.cat([found[name] for name in names]), packed)

    @pytest.mark.parametrize(
        ('state', 'message'),
        [
            ({'tgt_embed.weight': torch.zeros(3, 4)}, 'no class branches'),
            ({'class_embed.0.bias': torch.zeros(91), 'transformer.pos_trans.weight': torch.zeros(1)}, 'pos_trans'),
        ],
    )
    def test_other_models_are_refused(self, state, message):
        with pytest.raises(CheckpointError, match=message):
            convert_deformable(state)
