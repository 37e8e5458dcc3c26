"""Which predictions are kept, by hand."""

from __future__ import annotations

import pytest
import torch

from mmdet_dab.registry import MODELS, TASK_UTILS

#: Two images of two queries with two classes, and their boxes cx cy w h; one box reaches beyond the border.
LOGITS = torch.tensor([[[0.0, 2.0], [1.0, -5.0]], [[-1.0, -2.0], [3.0, -3.0]]])
BOXES = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.9, 0.5, 0.4, 0.2]], [[0.2, 0.2, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]]])
CORNERS = torch.tensor([[[0.25, 0.25, 0.75, 0.75], [0.7, 0.4, 1.1, 0.6]], [[0.1, 0.0, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]]])


def select(logits=LOGITS, scores='SigmoidScores', **config):
    part = MODELS.build(dict(type='BestPredictions', **config))
    return part(MODELS.build(dict(type=scores, num_classes=2)), logits, BOXES)


@pytest.mark.parametrize('clip', [True, False])
def test_best_pairs_of_query_and_class_by_hand(clip):
    scores, labels, boxes = select(max_per_img=3, clip_boxes=clip)
    assert labels.tolist() == [[1, 0, 0], [0, 0, 1]]
    torch.testing.assert_close(scores, torch.tensor([[2.0, 1.0, 0.0], [3.0, -1.0, -2.0]]).sigmoid())
    queries = torch.tensor([[0, 1, 0], [1, 0, 0]])
    expected = torch.stack([CORNERS[image][queries[image]] for image in range(2)])
    torch.testing.assert_close(boxes, expected.clamp(0, 1) if clip else expected)
    assert (boxes.max() > 1) == (not clip)


def test_best_queries_of_a_softmax_by_hand():
    """Each with its best class, background aside."""
    logits = torch.tensor([[[0.0, 2.0, 9.0], [1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [3.0, 0.0, 0.0]]])
    scores, labels, boxes = select(logits, 'SoftmaxScores', max_per_img=1)
    assert labels.tolist() == [[0], [0]]
    torch.testing.assert_close(scores[:, 0], logits.softmax(-1)[:, 1, 0])
    torch.testing.assert_close(boxes[:, 0], CORNERS[:, 1].clamp(0, 1))


def test_fewer_predictions_than_asked_for_are_all_kept():
    scores, labels, boxes = select()
    assert scores.shape == labels.shape == (2, 4)
    assert boxes.shape == (2, 4, 4)
    assert (scores.diff() <= 0).all()


class Reversed:
    """In the place of Matrix NMS: the worst becomes the best."""

    def __call__(self, scores, labels, boxes):
        return 1 - scores


def test_what_lowers_scores_of_duplicates_changes_the_order_too(monkeypatch):
    monkeypatch.setitem(TASK_UTILS.module_dict, 'Reversed', Reversed)
    plain = select(max_per_img=3)
    scores, labels, boxes = select(max_per_img=3, duplicates=dict(type='mmdet_dab.Reversed'))
    torch.testing.assert_close(scores, (1 - plain[0]).flip(1))
    assert torch.equal(labels, plain[1].flip(1))
    assert torch.equal(boxes, plain[2].flip(1))


def test_no_predictions_at_all_are_refused():
    with pytest.raises(ValueError, match='BestPredictions: max_per_img=0 must be at least 1'):
        MODELS.build(dict(type='BestPredictions', max_per_img=0))
