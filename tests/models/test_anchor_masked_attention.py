"""Cross-attention inside the anchor, on cells that can be counted."""

from __future__ import annotations

import pytest
import torch

from mmdet_dab.models.anchor_masked_attention import AnchorMaskedCrossAttention, beyond
from mmdet_dab.models.attention import ConditionalCrossAttention
from mmdet_dab.models.structures import ImageTokens, QueryPosition
from tests.helpers import tiny

WIDTH = 32


def tokens_of(*shapes: tuple[int, int], padded_columns: int = 0, batch: int = 1) -> ImageTokens:
    """Random cells; the last columns of every level are padding."""
    cells = sum(height * width for height, width in shapes)
    padding, ratios = [], []
    for height, width in shapes:
        level = torch.zeros(batch, height, width, dtype=torch.bool)
        level[..., width - padded_columns :] = padded_columns > 0
        padding.append(level.flatten(1))
        ratios.append(torch.tensor([1 - padded_columns / width, 1.0]))
    return ImageTokens(
        content=torch.randn(batch, cells, WIDTH),
        position=torch.randn(batch, cells, WIDTH),
        padding=torch.cat(padding, 1) if padded_columns else None,
        shapes=shapes,
        valid_ratios=torch.stack(ratios).expand(batch, -1, -1),
    )


def attention(**settings) -> AnchorMaskedCrossAttention:
    torch.manual_seed(0)
    return AnchorMaskedCrossAttention(WIDTH, 4, **settings).eval()


def seen(part: AnchorMaskedCrossAttention, anchor: list[float], tokens: ImageTokens) -> list[int]:
    """Cells that a query with the anchor sees."""
    mask = part.mask(torch.tensor([[anchor]]), tokens)
    return (~mask[0, 0, 0]).nonzero().flatten().tolist()


def test_cells_inside_by_hand():
    """A map of 2 × 4 cells: centres at x = 1/8, 3/8, 5/8, 7/8 and y = 1/4, 3/4."""
    tokens = tokens_of((2, 4))
    assert seen(attention(), [0.5, 0.25, 0.3, 0.4], tokens) == [1, 2]  # x in 0.35..0.65, y in 0.05..0.45
    assert seen(attention(reach=3.0), [0.5, 0.25, 0.3, 0.4], tokens) == list(range(8))
    assert seen(attention(), [0.5, 0.5, 1.0, 1.0], tokens) == list(range(8))
    assert seen(attention(), [0.02, 0.98, 0.001, 0.001], tokens) == [4]  # smaller than a cell
    assert seen(attention(), [1.0, 1.0, 0.001, 0.001], tokens) == [7]


def test_several_levels_by_hand():
    tokens = tokens_of((1, 4), (1, 2))
    assert seen(attention(), [0.25, 0.5, 0.3, 1.0], tokens) == [0, 1, 4]


def test_anchors_are_parts_of_the_image_not_of_the_canvas():
    """Of 4 columns 2 are padding: x = 0.75 is the second column."""
    tokens = tokens_of((1, 4), padded_columns=2)
    assert seen(attention(), [0.75, 0.5, 0.5, 1.0], tokens) == [1]
    assert seen(attention(), [0.5, 0.5, 1.0, 1.0], tokens) == [0, 1]
    assert seen(attention(reach=9.0), [0.5, 0.5, 1.0, 1.0], tokens) == [0, 1]


def test_distance_by_hand():
    """Half sizes are 0.1 and 0.25; the cell at (7/8, 3/4) lies 0.375 and 0.5 away."""
    distance = beyond(torch.tensor([[[0.5, 0.25, 0.4, 0.5]]]), tokens_of((2, 4)), 1.0)[0, 0]
    assert distance[1].item() == 0
    assert distance[7].item() == pytest.approx((0.375 / 0.2 - 1) + (0.5 / 0.25 - 1), rel=1e-4)


def test_only_cells_inside_matter():
    part, tokens = attention(), tokens_of((4, 4))
    content = torch.randn(1, 1, WIDTH)
    position = QueryPosition(torch.randn(1, 1, WIDTH), torch.randn(1, 1, WIDTH))
    anchor = torch.tensor([[[0.25, 0.25, 0.5, 0.5]]])
    inside = [0, 1, 4, 5]
    before = part(content, position, anchor, tokens)
    cropped = ImageTokens(tokens.content[:, inside], tokens.position[:, inside], None, ((2, 2),), torch.ones(1, 1, 2))
    whole = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    torch.testing.assert_close(before, part(content, position, whole, cropped))


def test_without_reach_it_is_the_attention_of_dab_detr():
    part, plain = attention(reach=None), ConditionalCrossAttention(WIDTH, 4).eval()
    plain.load_state_dict(part.state_dict())
    tokens = tokens_of((2, 4), padded_columns=1)
    content, anchors = torch.randn(1, 3, WIDTH), torch.rand(1, 3, 4)
    position = QueryPosition(torch.randn(1, 3, WIDTH), torch.randn(1, 3, WIDTH))
    assert torch.equal(part(content, position, anchors, tokens), plain(content, position, anchors, tokens))


@pytest.mark.parametrize('padded_columns', [0, 1])
def test_fading_lies_between_all_and_inside(padded_columns):
    tokens = tokens_of((2, 4), padded_columns=padded_columns)
    content, anchors = torch.randn(1, 3, WIDTH), torch.rand(1, 3, 4) * 0.5 + 0.2
    position = QueryPosition(torch.randn(1, 3, WIDTH), torch.randn(1, 3, WIDTH))

    def out(**settings):
        return attention(**settings)(content, position, anchors, tokens)

    torch.testing.assert_close(out(fade=1e-7), out(reach=None))
    torch.testing.assert_close(out(fade=1e7), out())
    assert not torch.allclose(out(fade=1.0), out(), atol=1e-3)
    assert not torch.allclose(out(fade=1.0), out(reach=None), atol=1e-3)


@pytest.mark.parametrize('settings', [dict(), dict(fade=2.0)], ids=['hard', 'soft'])
def test_the_model_learns_from_the_second_layer_on(settings):
    cross = dict(type='mmdet_dab.AnchorMaskedCrossAttention', embed_dims=WIDTH)
    model = tiny.build(
        decoder=dict(
            layer=dict(cross_attention=dict(cross, _delete_=True, **settings)),
            first_layer=dict(cross_attention=dict(cross, reach=None)),
        )
    )
    assert [layer.cross_attention.reach for layer in model.decoder.layers] == [None, 1.0, 1.0]
    assert model.decoder.layers[0].cross_attention.query_position is not None
    pictures, samples = tiny.batch(counts=[2, 0])
    losses = model.train()(pictures, samples, mode='loss')
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.decoder.parameters())


def test_points_are_refused():
    cross = dict(type='mmdet_dab.AnchorMaskedCrossAttention', embed_dims=WIDTH)
    with pytest.raises(ValueError, match='anchor_dims'):
        tiny.build(
            query_generator=dict(anchor_dims=2),
            decoder=dict(positional_query=dict(anchor_dims=2), layer=dict(cross_attention=dict(cross, _delete_=True))),
        )


@pytest.mark.parametrize(('settings', 'named'), [(dict(reach=0), 'reach=0'), (dict(fade=-1), 'fade=-1')])
def test_arguments_out_of_range_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        attention(**settings)
