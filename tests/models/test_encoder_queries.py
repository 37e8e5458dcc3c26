"""Two stages: anchors are the boxes of the best cells, which learn beside the decoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmdet_dab.models.encoder_queries import cell_boxes
from mmdet_dab.models.structures import ImageTokens
from mmdet_dab.registry import MODELS
from tests.helpers import tiny

QUERIES = 5


def chosen(**settings) -> dict:
    return dict(type='mmdet_dab.EncoderQueryGenerator', num_queries=QUERIES, **settings)


def detector(query_generator: dict | None = None) -> nn.Module:
    return tiny.build(query_generator=dict(query_generator or chosen(), _delete_=True))


def tokens(shapes=((2, 3),), ratios=((1.0, 1.0),), padding=None) -> ImageTokens:
    cells = sum(height * width for height, width in shapes)
    content = torch.randn(1, cells, 8)
    return ImageTokens(content, content, padding, shapes, torch.tensor([ratios]))


def test_boxes_of_cells_by_hand():
    """Two levels, of which the image fills half in x."""
    boxes = cell_boxes(tokens(((2, 4), (1, 2)), ((0.5, 1.0), (0.5, 1.0))), size=0.1)[0]
    assert boxes[0].tolist() == pytest.approx([0.25, 0.25, 0.1, 0.1])
    assert boxes[5].tolist() == pytest.approx([0.75, 0.75, 0.1, 0.1])
    assert boxes[8].tolist() == pytest.approx([0.5, 0.5, 0.2, 0.2])
    assert boxes[9, 0] > 1  # padding


def test_the_best_cells_are_taken_and_padding_never():
    padding = torch.tensor([[False, False, False, True, True, True]])
    part = MODELS.build(chosen(num_classes=2, embed_dims=8) | dict(num_queries=2))
    part.init_weights()
    part.project = nn.Identity()
    given = tokens(padding=padding)
    given.content.zero_()
    given.content[0, :, 0] = torch.tensor([1.0, 3.0, 2.0, 9.0, 9.0, 9.0])
    with torch.no_grad():
        part.class_branch.weight.zero_()
        part.class_branch.weight[1, 0] = 1
    queries = part(given)
    assert queries.proposals is None
    expected = cell_boxes(given, part.size)[0, [1, 2]]
    assert torch.allclose(queries.anchors[0], expected, atol=1e-5)
    assert not queries.anchors.requires_grad


def test_cells_learn_and_the_decoder_does_not_reach_them():
    model = detector().train()
    pictures, samples = tiny.batch()
    losses = model(pictures, samples, mode='loss')
    cells = {'enc_loss_cls', 'enc_loss_bbox', 'enc_loss_iou'}
    assert cells < set(losses)
    branches = [*model.query_generator.class_branch.parameters(), *model.query_generator.box_branch.parameters()]
    rest = sum(loss for name, loss in losses.items() if name not in cells)
    assert all(grad is None for grad in torch.autograd.grad(rest, branches, allow_unused=True, retain_graph=True))
    of_cells = torch.autograd.grad(sum(losses[name] for name in cells), branches)
    assert all(grad.isfinite().all() for grad in of_cells)
    assert of_cells[0].abs().sum() > 0


@pytest.mark.parametrize('batch', ['one without objects', 'none with objects', 'three sizes'])
def test_every_batch_has_losses(batch):
    model = detector().train()
    losses = model(*tiny.batch(**tiny.BATCHES[batch]), mode='loss')
    assert all(loss.isfinite() for loss in losses.values())


def test_padding_changes_nothing():
    """2 × 3 cells give the same alone and in the corner of a canvas of 3 × 4."""
    part = MODELS.build(chosen(num_classes=2, embed_dims=8)).eval()
    part.init_weights()
    alone = tokens()
    padding = torch.ones(3, 4, dtype=torch.bool)
    padding[:2, :3] = False
    content = torch.randn(1, 12, 8).index_put((torch.tensor(0), (~padding.flatten()).nonzero()[:, 0]), alone.content[0])
    padded = ImageTokens(content, content, padding.flatten()[None], ((3, 4),), torch.tensor([[[3 / 4, 2 / 3]]]))
    torch.testing.assert_close(part(padded).anchors, part(alone).anchors, atol=1e-5, rtol=0)


def test_padding_that_has_to_be_taken_comes_in_the_order_of_cells():
    """Of 8 × 8 cells 4 are image: the others have equal scores, which every runtime would rank in its own way."""
    part = MODELS.build(chosen(num_classes=2, embed_dims=8) | dict(num_queries=60)).eval()
    part.init_weights()
    padding = torch.ones(1, 64, dtype=torch.bool)
    padding[0, [3, 20, 21, 50]] = False
    given = tokens(((8, 8),), padding=padding)
    expected = part.proposals(given).boxes[0, padding[0].nonzero()[:56, 0]]
    torch.testing.assert_close(part(given).anchors[0, 4:], expected, rtol=0, atol=0)


def test_denoising_stands_around_it():
    around = dict(
        type='mmdet_dab.DenoisingQueryGenerator', generator=chosen(num_classes=3, embed_dims=tiny.WIDTH), num_classes=3,
        num_groups=2, embed_dims=tiny.WIDTH,
    )  # fmt: skip
    losses = detector(around).train()(*tiny.batch(), mode='loss')
    assert {'enc_loss_cls', 'dn_loss_cls', 'loss_cls'} < set(losses)


def test_small_images_have_a_query_for_each_cell():
    with torch.no_grad():
        logits, boxes = detector(chosen() | dict(num_queries=60)).eval()(torch.zeros(1, 3, 64, 64))
    assert logits.shape[1:3] == boxes.shape[1:3] == (1, 16)
