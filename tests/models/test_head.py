"""Losses and predictions by hand."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_dab.models import DecoderOutput, Queries
from mmdet_dab.registry import MODELS
from tests.helpers import tiny


def head(**overrides):
    torch.manual_seed(0)
    return MODELS.build(tiny.tiny_config(bbox_head=overrides).bbox_head)


def output_of(states, references):
    return DecoderOutput(states, references, Queries(states[0], references[0]))


def sample(boxes, labels, size=(100, 200)):
    truth = InstanceData(bboxes=torch.tensor(boxes).view(-1, 4), labels=torch.tensor(labels).long())
    result = DetDataSample(gt_instances=truth)
    result.set_metainfo(dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
    return result


class Answers(torch.nn.Module):
    """Stands for the decoder's states: the head's own branches are replaced by fixed answers."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.Parameter(values)

    def forward(self, states):
        return self.values


def test_losses_by_hand():
    """One image of 200 × 100, one object, two queries; the first is right but for its width."""
    part = head()
    logits = torch.tensor([[0.0, -2.0, -2.0], [-3.0, -3.0, -3.0]])
    boxes = torch.tensor([[0.5, 0.5, 0.25, 0.5], [0.1, 0.1, 0.1, 0.1]])
    part.class_branch, part.box_branches[0] = Answers(logits.view(1, 1, 2, 3)), Answers(torch.zeros(1, 1, 2, 4))
    output = output_of(torch.zeros(1, 1, 2, tiny.WIDTH), boxes.view(1, 1, 2, 4))
    # Ground truth: centre (0.5, 0.5), w = h = 0.5.
    found = part.loss(output, [sample([50.0, 25.0, 150.0, 75.0], [0])])

    def focal(logit, is_class):
        p = 1 / (1 + math.exp(-logit))
        return -0.25 * (1 - p) ** 2 * math.log(p) if is_class else -0.75 * p**2 * math.log(1 - p)

    expected = focal(0, True) + 2 * focal(-2, False) + 3 * focal(-3, False)
    assert found['loss_cls'].item() == pytest.approx(expected, rel=1e-5)
    assert found['loss_bbox'].item() == pytest.approx(5 * 0.25, rel=1e-4)
    assert found['loss_iou'].item() == pytest.approx(2 * (1 - 0.5), rel=1e-4)
    assert set(found) == {'loss_cls', 'loss_bbox', 'loss_iou'}


def test_names_are_mmdets():
    part = head()
    states = torch.randn(3, 1, 4, tiny.WIDTH)
    found = part.loss(output_of(states, torch.rand(3, 1, 4, 4)), [sample([1.0, 1.0, 9.0, 9.0], [1])])
    terms = ('loss_cls', 'loss_bbox', 'loss_iou')
    assert list(found) == [*terms, *(f'd{layer}.{term}' for layer in (0, 1) for term in terms)]


def test_no_objects_still_trains_every_branch():
    """Zero box losses with a gradient, so that distributed training finds no unused parameter."""
    part = head()
    states = torch.randn(3, 2, 4, tiny.WIDTH)
    found = part.loss(output_of(states, torch.rand(3, 2, 4, 4)), [sample([], []), sample([], [])])
    assert found['loss_bbox'] == found['d0.loss_iou'] == 0
    assert found['loss_cls'] > 0
    sum(found.values()).backward()
    assert all(parameter.grad is not None for parameter in part.parameters())


def test_prediction_by_hand():
    """The best of all queries and classes; boxes in pixels of the loaded image."""
    part = head(selection=dict(max_per_img=3))
    logits = torch.tensor([[0.0, 2.0, -5.0], [1.0, -5.0, -5.0]])
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.9, 0.5, 0.4, 0.2]])
    part.class_branch, part.box_branches[0] = Answers(logits.view(1, 1, 2, 3)), Answers(torch.zeros(1, 1, 2, 4))
    output = output_of(torch.zeros(1, 1, 2, tiny.WIDTH), boxes.view(1, 1, 2, 4))
    truth = sample([], [])
    truth.set_metainfo(dict(scale_factor=(0.5, 2.0)))
    with torch.no_grad():
        check_predictions(part, output, truth)


def check_predictions(part, output, truth):
    (result,) = part.predict(output, [truth])
    assert result.labels.tolist() == [1, 0, 0]
    torch.testing.assert_close(result.scores, torch.tensor([2.0, 1.0, 0.0]).sigmoid())
    first, second = [100.0, 12.5, 300.0, 37.5], [280.0, 20.0, 400.0, 30.0]
    torch.testing.assert_close(result.bboxes, torch.tensor([first, second, first]), rtol=0, atol=0.2)
    (resized,) = part.predict(output, [truth], rescale=False)
    torch.testing.assert_close(resized.bboxes[0], torch.tensor([50.0, 25.0, 150.0, 75.0]), rtol=0, atol=0.1)
    part.selection.clip_boxes = False
    assert part.predict(output, [truth])[0].bboxes[1, 2] == pytest.approx(440, abs=0.2)


def test_start():
    """Class probability 0.01, boxes at the references."""
    part = head()
    part.init_weights()
    references = torch.rand(2, 1, 5, 4) * 0.8 + 0.1
    logits, boxes = part(output_of(torch.zeros(2, 1, 5, tiny.WIDTH), references))
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.01))
    torch.testing.assert_close(boxes, references)


@pytest.mark.parametrize('layer', range(3))
def test_branch_per_layer(layer):
    part = head(per_layer=('box',))
    assert len(part.box_branches) == 3
    assert part.class_branches is None
    torch.nn.init.constant_(part.box_branches[layer].layers[-1].bias, 5)
    states, references = torch.zeros(3, 1, 4, tiny.WIDTH), torch.full((3, 1, 4, 4), 0.5)
    _, boxes = part(output_of(states, references))
    moved = [(boxes[i] > 0.9).all().item() for i in range(3)]
    assert moved == [i == layer for i in range(3)]
    (_, last) = part(output_of(states, references), slice(-1, None))
    torch.testing.assert_close(last[0], boxes[-1])
    assert (part.box_offset(states[0], layer) > 4).all()


def test_softmax_loss_is_refused():
    with pytest.raises(ValueError, match='use_sigmoid=True'):
        head(loss_cls=dict(_delete_=True, type='CrossEntropyLoss'))


def test_softmax_of_a_focal_loss_is_refused():
    with pytest.raises(ValueError, match=r'SigmoidFocalLoss.* has use_sigmoid=True, but class_scores is SoftmaxScores'):
        head(class_scores=dict(type='SoftmaxScores'))


def test_a_focal_loss_of_mmdets_serves_as_well():
    """Which takes a target as wide as the logits, and sums nothing."""
    ours, theirs = head(), head(loss_cls=dict(_delete_=True, type='FocalLoss', use_sigmoid=True))
    theirs.load_state_dict(ours.state_dict())
    states, references = torch.randn(3, 1, 4, tiny.WIDTH), torch.rand(3, 1, 4, 4)
    truth = [sample([1.0, 1.0, 9.0, 9.0], [1])]
    found, expected = (part.loss(output_of(states, references), truth) for part in (ours, theirs))
    for name in expected:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-5)
