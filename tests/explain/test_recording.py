"""What is recorded is what the detector computed, and recording leaves no trace."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import nn

from mmdet_dab.errors import UserError
from mmdet_dab.explain import DotAttention, Recording, record, record_batch
from mmdet_dab.explain.answers import GroundTruth
from mmdet_dab.explain.attentions import layers_of, places
from mmdet_dab.explain.recording import cell_at
from mmdet_dab.models import pieces
from mmdet_dab.models.deformable_attention import sample_levels
from mmdet_dab.optimize import optimize_for_inference
from tests.helpers import assemblies, tiny
from tests.helpers.assemblies import ASSEMBLIES
from tests.helpers.explorer_pages import draw_image, with_pipeline

CONDITIONAL = ('Conditional DETR', 'DAB-DETR', 'DN', 'group', 'anchor-masked', 'deformable encoder', "mmdet's DABDETR")


@cache
def model_of(name: str) -> nn.Module:
    return assemblies.build(name)


@cache
def recorded(name: str) -> tuple[Recording, ...]:
    """Two images of different sizes, so that one has padding; all queries and layers, one cell."""
    return tuple(record_batch(model_of(name), *tiny.batch(), cells=[(0.4, 0.6)]))


def attributes(model: nn.Module) -> list[dict]:
    return [dict(vars(module)) for module in model.modules()]


def predict(model: nn.Module) -> list:
    with torch.no_grad():
        return model(*tiny.batch(), mode='predict')


@pytest.mark.parametrize('name', ASSEMBLIES)
def test_predictions_are_bit_equal_and_nothing_remains(name: str):
    model = model_of(name)
    plain = predict(model)
    before = attributes(model)
    for sample, recording in zip(plain, recorded(name), strict=True):
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(sample.pred_instances[key], recording.predictions[key]), key
    for module, was in zip(model.modules(), before, strict=True):
        assert vars(module).keys() == was.keys()
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for sample, again in zip(plain, predict(model), strict=True):
        assert torch.equal(sample.pred_instances.bboxes, again.pred_instances.bboxes)


@pytest.mark.parametrize('name', ASSEMBLIES)
def test_every_attention_is_recorded_and_adds_up(name: str):
    """Rows sum to 1, padding gets 0, and weights × values is what the attention gave."""
    model = model_of(name)
    modules = {(place.role, place.layer): place.module for place in places(model)}
    recordings = recorded(name)
    assert recordings[1].padding.any()
    for recording in recordings:
        layers, queries = recording.boxes.shape[:2]
        assert recording.cross.keys() == recording.self_attention.keys() == set(range(layers))
        assert recording.encoder.keys() == {0, 1}
        for role, found in (
            ('cross', recording.cross),
            ('self', recording.self_attention),
            ('encoder', recording.encoder),
        ):
            for layer, attention in found.items():
                check(attention, modules[role, layer], recording, of_cells=role != 'self')
                assert len(attention.output) == (1 if role == 'encoder' else queries)


def check(attention, module: nn.Module, recording: Recording, of_cells: bool) -> None:
    out = next(getattr(module, name) for name in ('out', 'out_proj', 'output_proj') if hasattr(module, name))
    if isinstance(attention, DotAttention):
        sums = attention.weights.sum(-1)
        if of_cells and recording.padding is not None:
            assert not attention.weights[..., recording.padding].any()
        attended = (attention.weights @ attention.value).transpose(0, 1).flatten(1)
    else:
        sums = attention.weights.flatten(2).sum(-1)
        locations = attention.points * recording.valid_ratios[:, None]
        attended = sample_levels(attention.value[None], recording.shapes, locations[None], attention.weights[None])[0]
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-6)
    with torch.no_grad():
        given = out(attended)
    assert (given - attention.output).norm() <= 1e-6 * attention.output.norm()


@pytest.mark.parametrize('name', CONDITIONAL)
def test_content_and_position_are_the_logits(name: str):
    for recording in recorded(name):
        for attention in recording.cross.values():
            both = attention.content + attention.position
            torch.testing.assert_close(both, attention.logits, rtol=0, atol=1e-5 * float(attention.logits.abs().max()))
            assert attention.position.std() > 1e-3
            assert attention.content.std() > 1e-3


def test_logits_that_do_not_split_have_no_parts():
    (first, _) = recorded('DETR')
    assert first.cross[0].content is None
    assert first.self_attention[0].position is None


@pytest.mark.parametrize('name', ASSEMBLIES)
def test_anchors_scores_boxes_and_matches(name: str):
    model = model_of(name)
    inputs, samples = tiny.batch()
    with torch.no_grad():
        logits, boxes = model(inputs, samples, mode='tensor')[:2]
    for image, recording in enumerate(recorded(name)):
        assert torch.equal(recording.boxes, boxes[:, image])
        sigmoid = recording.scores.size(-1) == logits.size(-1)
        scores = logits[:, image].sigmoid() if sigmoid else logits[:, image].softmax(-1)[..., :-1]
        assert torch.equal(recording.scores, scores)
        assert torch.equal(recording.anchors[1:].nan_to_num(), recording.anchors_after[:-1].nan_to_num())
        known = ~recording.anchors.isnan()
        assert ((recording.anchors[known] >= 0) & (recording.anchors[known] <= 1)).all()
        count = len(samples[image].gt_instances)
        for row in recording.matched:
            assert sorted(row[row >= 0].tolist()) == list(range(count))


def test_anchors_that_move_are_those_of_every_layer():
    (first, _) = recorded('DAB-DETR')
    model = model_of('DAB-DETR')
    torch.testing.assert_close(first.anchors[0], model.query_generator.anchors().detach())
    assert (first.anchors[1] - first.anchors[0]).abs().max() > 1e-3
    (points, _) = recorded('Conditional DETR')
    assert torch.equal(points.anchors.isnan().any(0).any(0), torch.tensor([False, False, True, True]))
    assert torch.equal(points.anchors[0].nan_to_num(), points.anchors[1].nan_to_num())
    (learned, _) = recorded('DETR')
    assert learned.anchors.isnan().all()


def test_matches_are_those_of_the_models_own_loss():
    """The head's matcher, on the batch as in training, gives the same pairs."""
    model = model_of('DAB-DETR')
    inputs, samples = tiny.batch()
    from mmdet_dab.models.matcher import ground_truth_of

    with torch.no_grad():
        logits, boxes = model(inputs, samples, mode='tensor')
    pairs = model.bbox_head.matcher(logits, boxes, ground_truth_of(samples))
    for image, recording in enumerate(recorded('DAB-DETR')):
        chosen = pairs.image == image
        matched = recording.matched[pairs.layer[chosen], pairs.query[chosen]]
        assert torch.equal(matched, pairs.target[chosen])
        assert (recording.matched >= 0).sum() == chosen.sum()


def costs(model: nn.Module, logits: np.ndarray, boxes: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """(N, T), what each pair of query and object costs, of the formulas of DETR and of the focal loss."""
    head = getattr(model.bbox_head, 'head', model.bbox_head)
    assigner = getattr(head, 'assigner', None)
    matcher = getattr(assigner or head, 'matcher', None)  # of ours, also behind mmdet's assigners
    terms = assigner.match_costs if matcher is None else matcher.costs
    objects, labels = truth.boxes.double().numpy(), truth.labels.numpy()
    chance = 1 / (1 + np.exp(-logits))
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    pairs = dict(
        focal=0.75 * chance**2 * np.log(1 - chance) - 0.25 * (1 - chance) ** 2 * np.log(chance),
        classification=-share,
        box=np.abs(boxes[:, None] - objects).sum(-1),
        giou=-giou(boxes[:, None], objects[None]),
    )
    names = dict(FocalLossCost='focal', FocalCost='focal', ClassificationCost='classification')
    names |= dict(BBoxL1Cost='box', BoxL1Cost='box', IoUCost='giou', GIoUCost='giou')
    kinds = [(names[type(term).__name__], term.weight) for term in terms]
    return sum(weight * (pairs[name] if name in ('box', 'giou') else pairs[name][:, labels]) for name, weight in kinds)


def giou(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of boxes cx cy w h."""
    (low, high), (other_low, other_high) = (
        (b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2) for b in (ours, theirs)
    )
    inside = np.clip(np.minimum(high, other_high) - np.maximum(low, other_low), 0, None).prod(-1)
    hull = (np.maximum(high, other_high) - np.minimum(low, other_low)).prod(-1)
    union = ours[..., 2:].prod(-1) + theirs[..., 2:].prod(-1) - inside
    return inside / union - (hull - union) / hull


@pytest.mark.parametrize('name', ASSEMBLIES)
def test_matches_are_the_cheapest_of_all_assignments(name: str):
    """By costs that are computed here, and scipy."""
    model = model_of(name)
    with torch.no_grad():
        logits, boxes = model(*tiny.batch(), mode='tensor')[:2]
    for image, recording in enumerate(recorded(name)):
        for layer, matched in enumerate(recording.matched):
            answers = (x[layer][image].double().numpy() for x in (logits, boxes))
            cost = costs(model, *answers, recording.ground_truth)
            query, target = linear_sum_assignment(cost)
            chosen = (matched >= 0).nonzero()[:, 0]
            assert len(chosen) == len(query)
            given = cost[chosen.numpy(), matched[chosen].numpy()].sum()
            assert given == pytest.approx(cost[query, target].sum(), abs=1e-5)


class FailedError(Exception):
    """What a test raises."""


@pytest.mark.parametrize('name', ['DAB-DETR', 'DAB-Deformable', "mmdet's DABDETR", "mmdet's DeformableDETR"])
def test_nothing_remains_where_a_forward_pass_fails(name: str):
    model: Any = assemblies.build(name)
    model.neck.train()
    before = attributes(model)

    def fail(*_: object, **__: object) -> None:
        raise FailedError

    def look_and_fail(**arguments: Any) -> None:
        with pytest.raises(FailedError):
            record_batch(model, *tiny.batch(), cells=[(0.5, 0.5)], **arguments)

    look_and_fail(queries=fail)
    for part in (model.neck, layers_of(model.decoder)[-1], model.bbox_head):
        # Heads are asked by ``predict``, other parts are called.
        hook = part.register_forward_pre_hook(fail)
        predict, part.predict = getattr(part, 'predict', None), fail
        look_and_fail()
        hook.remove()
        del part.predict
        assert getattr(part, 'predict', None) == predict
    assert attributes(model) == before


def test_a_layer_out_of_range_is_refused_before_the_forward_pass(monkeypatch: pytest.MonkeyPatch):
    model: Any = model_of('DAB-DETR')
    monkeypatch.setattr(model.backbone, 'forward', None)
    with pytest.raises(UserError, match='layer 2: the model has 2 layers'):
        record_batch(model, *tiny.batch(), layers=[2])


def test_an_encoder_that_takes_a_batch_in_pieces_is_read_whole(monkeypatch: pytest.MonkeyPatch):
    """As ``optimize_for_inference`` lets it do on a CPU."""
    model = optimize_for_inference(assemblies.build('DAB-DETR'))
    whole = record_batch(model, *tiny.batch(), cells=[(0.4, 0.6)])
    monkeypatch.setattr(pieces, 'CELLS', 1)
    apart = record_batch(model, *tiny.batch(), cells=[(0.4, 0.6)])
    for first, second in zip(whole, apart, strict=True):
        for layer, attention in first.encoder.items():
            torch.testing.assert_close(second.encoder[layer].weights, attention.weights)
            torch.testing.assert_close(second.encoder[layer].output, attention.output)


def test_chosen_queries_and_layers_are_the_rows_of_all():
    every, _ = recorded('DAB-DETR')
    chosen, _ = record_batch(model_of('DAB-DETR'), *tiny.batch(), queries=[4, 1], layers=[1])
    assert chosen.cross.keys() == {1}
    assert not chosen.encoder
    assert chosen.row(1) == 1
    torch.testing.assert_close(chosen.cross[1].logits, every.cross[1].logits[:, [4, 1]])
    torch.testing.assert_close(chosen.self_attention[1].weights, every.self_attention[1].weights[:, [4, 1]])
    assert chosen.boxes.shape == every.boxes.shape
    best, _ = record_batch(
        model_of('DAB-DETR'), *tiny.batch(), queries=lambda answers: answers.scores[-1].max(-1).values.topk(2).indices
    )
    assert best.queries.tolist() == every.scores[-1].max(-1).values.topk(2).indices.tolist()


def test_cells_and_points():
    _, padded = recorded('DAB-DETR')  # 48 × 64 of a canvas of 64 × 96, 16 pixels a cell
    assert padded.shapes == ((4, 6),)
    assert padded.cell_at(0, 0) == 0
    assert padded.cell_at(0.99, 0.99) == 2 * 6 + 3
    assert not padded.padding[padded.cell_at(0.99, 0.99)]
    assert padded.as_maps(torch.arange(24)).tolist()[1] == [6, 7, 8, 9, 10, 11]
    assert padded.cell_at(1, 1) == padded.cell_at(0.99, 0.99)
    assert cell_at((1, 1), ((2, 3), (1, 2)), torch.ones(2, 2), level=1) == 7
    with pytest.raises(UserError, match='outside of the image'):
        padded.cell_at(1.2, 0.5)


@pytest.mark.parametrize('arguments', [dict(queries=[7]), dict(queries=[-1]), dict(layers=[2])])
def test_numbers_out_of_range_are_refused(arguments: dict):
    number = next(iter(arguments.values()))[0]
    with pytest.raises(UserError, match=f'{number}.*0 to'):
        record_batch(model_of('DAB-DETR'), *tiny.batch(), **arguments)


def test_labels_of_another_data_set_are_refused():
    inputs, samples = tiny.batch()
    samples[0].gt_instances.labels[:] = 17
    with pytest.raises(UserError, match='label 17'):
        record_batch(model_of('DAB-DETR'), inputs, samples)


def test_a_detector_without_queries_is_refused():
    with pytest.raises(UserError, match='Sequential'):
        record_batch(nn.Sequential(), *tiny.batch())


def test_training_mode_is_as_before():
    model = assemblies.build('DAB-DETR')
    model.train()
    modes = [module.training for module in model.modules()]
    record_batch(model, *tiny.batch(), queries=[0])
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize(
    'name', ['Conditional DETR', 'DAB-DETR', 'anchor-masked', "mmdet's DABDETR", "mmdet's ConditionalDETR"]
)
def test_the_formula_gives_the_position_part(name: str):
    """Of every query and layer, also with padding; the check within ``formula_of`` looks at one query only."""
    for recording in recorded(name):
        height, width = recording.formula.grid
        assert height * width == (24 if recording.padding is None else int((~recording.padding).sum()))
        for layer, attention in recording.cross.items():
            maps = recording.as_maps(attention.position)[..., :height, :width]
            for row, query in enumerate(recording.queries):
                given = recording.formula.logits(layer, row, recording.anchors[layer, query].tolist())
                largest = float(maps.abs().max())
                torch.testing.assert_close(torch.from_numpy(given).float(), maps[:, row], rtol=0, atol=1e-5 * largest)


def test_the_formula_without_modulation_and_with_another_temperature_differs():
    formula, anchor = recorded('DAB-DETR')[0].formula, (0.4, 0.6, 0.1, 0.5)
    plain = formula.logits(1, 0, anchor)
    assert abs(plain - formula.logits(1, 0, anchor, modulated=False)).max() > 1e-3
    assert abs(plain - formula.logits(1, 0, anchor, cell_temperature=3.0)).max() > 1e-3
    assert abs(plain - formula.logits(1, 0, anchor, temperature=3.0)).max() > 1e-3


@pytest.mark.parametrize('name', ['DETR', 'DAB-Deformable', 'deformable encoder'])
def test_there_is_no_formula_where_logits_do_not_split_or_levels_are_several(name: str):
    assert recorded(name)[0].formula is None


def test_a_file_goes_through_the_test_pipeline(tmp_path: Path):
    """Predictions are those of mmdet's own inference; ground truth is given in pixels of the file."""
    image = draw_image(tmp_path / 'image.png')
    model = with_pipeline(assemblies.build('DAB-DETR'))
    truth = InstanceData(bboxes=torch.tensor([[18.0, 12.0, 90.0, 60.0]]), labels=torch.tensor([2]))
    recording = record(model, image, queries=[0], ground_truth=truth)
    expected = inference_detector(model, str(image)).pred_instances
    assert torch.equal(recording.predictions.bboxes, expected.bboxes)
    assert torch.equal(recording.predictions.scores, expected.scores)
    assert (recording.ori_shape, recording.img_shape) == ((120, 180), (64, 96))
    torch.testing.assert_close(recording.ground_truth.boxes, torch.tensor([[0.3, 0.3, 0.4, 0.4]]))
    array = record(model, cv2.imread(str(image)), queries=[0])
    assert torch.equal(array.predictions.bboxes, expected.bboxes)
    assert array.matched is None
    with pytest.raises(UserError, match='has no cfg'):
        record(assemblies.build('DAB-DETR'), image)


def test_an_image_without_objects_has_no_matches():
    inputs, samples = tiny.batch(counts=[0, 0])
    recording, _ = record_batch(model_of('DAB-DETR'), inputs, samples, queries=[0])
    assert (recording.matched == -1).all()
    recording, _ = record_batch(model_of("mmdet's DABDETR"), inputs, samples, queries=[0])
    assert (recording.matched == -1).all()
