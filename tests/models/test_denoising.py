"""Denoising: ground truth reaches the denoising queries and nobody else."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope
from torch.nn.parallel import DistributedDataParallel

from mmdet_dab.checkpoints.class_rows import class_tensors
from mmdet_dab.config import load_config
from mmdet_dab.models import DecoderOutput, Denoising, Queries
from mmdet_dab.models.denoising import denoising_mask, noised_boxes, noised_labels
from mmdet_dab.models.matcher import ground_truth_of
from mmdet_dab.models.tokenizer import canvas_padding
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.paths import CONFIGS
from tests.helpers.processes import LossOf, gradients, run_in_two_processes

QUERIES, CLASSES = 7, 3
NO_NOISE = dict(center_noise=0.0, size_noise=0.0, label_noise=0.0)
TERMS = ('loss_cls', 'loss_bbox', 'loss_iou')
DN_NAMES = [prefix + 'dn_' + term for prefix in ('', 'd0.', 'd1.') for term in TERMS]


def wrapping(generator=None, **overrides):
    """Config of the part around the tiny model's generator, with 2 groups."""
    part = dict(
        type='mmdet_dab.DenoisingQueryGenerator',
        generator=generator or tiny.tiny_config().query_generator,
        num_classes=CLASSES,
        num_groups=2,
        embed_dims=tiny.WIDTH,
    )
    return dict(part, **overrides)


def build(**overrides):
    """The tiny model with denoising, in training mode."""
    return tiny.build(query_generator=dict(wrapping(**overrides), _delete_=True)).train()


def decode(model, pictures, samples, seed=0):
    torch.manual_seed(seed)
    return model.decode(pictures, samples)


def losses_of(model, pictures, samples, seed=0):
    torch.manual_seed(seed)
    return model(pictures, samples, mode='loss')


def draw(text):
    return torch.tensor([[cell == 'x' for cell in line.strip()] for line in text.strip().splitlines()])


# --- Who may look at whom ---------------------------------------------------------------------------

#: 4 matching queries, then 2 groups of 3. A row looks; x: it must not look there.
TWO_GROUPS_OF_THREE = """
    ....xxxxxx
    ....xxxxxx
    ....xxxxxx
    ....xxxxxx
    .......xxx
    .......xxx
    .......xxx
    ....xxx...
    ....xxx...
    ....xxx...
"""
#: The same for an image with 1 object beside one with 3: nobody looks at the padding.
ONE_OBJECT_OF_THREE = """
    ....xxxxxx
    ....xxxxxx
    ....xxxxxx
    ....xxxxxx
    .....xxxxx
    .....xxxxx
    .....xxxxx
    ....xxx.xx
    ....xxx.xx
    ....xxx.xx
"""


def test_mask_by_hand():
    objects = torch.tensor([[True, True, True], [True, False, False]])
    mask = denoising_mask(4, objects, 2)
    assert mask.shape == (2, 1, 10, 10)
    assert torch.equal(mask[0, 0], draw(TWO_GROUPS_OF_THREE))
    assert torch.equal(mask[1, 0], draw(ONE_OBJECT_OF_THREE))


@pytest.mark.parametrize(('most', 'groups'), [(1000, 5), (45, 5), (44, 4), (20, 2), (9, 1), (3, 1)])
def test_crowded_images_get_fewer_groups(most: int, groups: int):
    """Nine objects in the fuller image: 5 groups of them are 45 queries."""
    model = build(num_groups=5, most_queries=most)
    queries = decode(model, *tiny.batch(counts=[9, 2])).queries
    assert queries.content.size(1) == QUERIES + 9 * groups
    assert len(queries.denoising.image) == 11 * groups


def test_mask_of_the_wrapped_generator_is_kept():
    """Its queries hide from one another as it says; the rest is as ever."""
    model = build()
    plain = decode(model, *tiny.batch()).queries.attention_mask
    own = torch.eye(QUERIES, dtype=torch.bool).roll(1, 0)
    inner = model.query_generator.generator
    wrapped_forward = inner.forward
    inner.forward = lambda *args: replace(wrapped_forward(*args), attention_mask=own)
    mask = decode(model, *tiny.batch()).queries.attention_mask
    assert not plain[..., :QUERIES, :QUERIES].any()
    assert torch.equal(mask[..., :QUERIES, :QUERIES], own.expand(2, 1, -1, -1))
    plain[..., :QUERIES, :QUERIES] = own
    assert torch.equal(mask, plain)


def other_truth(samples, seed=7):
    """The same number of objects, other classes and boxes."""
    _, others = tiny.batch(counts=[len(sample.gt_instances) for sample in samples], seed=seed)
    return [
        sample.new(metainfo=sample.metainfo, gt_instances=other.gt_instances)
        for sample, other in zip(samples, others, strict=True)
    ]


def test_truth_does_not_reach_the_matching_queries():
    """Other classes and boxes: not a bit of theirs changes, in any layer. More objects: no more than rounding."""
    model, (pictures, samples) = build(), tiny.batch()
    here, there = decode(model, pictures, samples), decode(model, pictures, other_truth(samples))
    known = here.queries.denoising
    for before, after in ((here.states, there.states), (here.references, there.references)):
        assert torch.equal(before[:, :, :QUERIES], after[:, :, :QUERIES])
        denoising = [values[:, known.image, known.query] for values in (before, after)]
        assert not torch.isclose(*denoising).all(-1).any()
    more = decode(model, pictures, tiny.batch(counts=[20, 4])[1]).states
    torch.testing.assert_close(more[:, :, :QUERIES], here.states[:, :, :QUERIES], rtol=0, atol=1e-5)


def test_no_gradient_flows_between_truth_and_matching_queries():
    """Neither embedding nor noised boxes get one from the matching outputs; from the denoising ones they do."""
    model, (pictures, samples) = build(), tiny.batch()
    embedding = model.query_generator.label_embedding
    output = decode(model, pictures, samples)
    logits, boxes = model.bbox_head(output)
    (gradient,) = torch.autograd.grad(logits.sum() + boxes.sum(), embedding, retain_graph=True)
    assert torch.equal(gradient, torch.zeros(CLASSES, tiny.WIDTH))
    (gradient,) = torch.autograd.grad(output.states[:, :, QUERIES:].square().sum(), embedding)
    assert gradient.abs().max() > 1e-3


def test_matching_queries_are_those_without_denoising():
    model, plain = build(), tiny.build().train()
    pictures, samples = tiny.batch()
    expected = losses_of(plain, pictures, samples)
    losses = losses_of(model, pictures, samples)
    assert sorted(set(losses) - set(expected)) == sorted(DN_NAMES)
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-5, atol=1e-6, msg=name)


def redecode(model, pictures, samples, change):
    """Decode the queries of seed 0, whose anchors and content ``change`` has overwritten."""
    features = model.extract_feat(pictures)
    padding = canvas_padding(samples, pictures)
    tokens = model.encoder(model.tokenizer(features, padding, model.positional_encoder))
    torch.manual_seed(0)
    queries = model.query_generator(tokens, samples)
    queries = replace(queries, content=queries.content.clone(), anchors=queries.anchors.clone())
    change(queries)
    return model.decoder(queries, tokens, model.positional_encoder, model.bbox_head.box_offset)


def test_groups_are_apart():
    """What the second group holds matters to the second group only."""
    model, (pictures, samples) = build(), tiny.batch()
    second = slice(QUERIES + 3, None)

    def change(queries):
        queries.content[:, second] += 1
        queries.anchors[:, second] = 0.3

    with torch.no_grad():
        before = decode(model, pictures, samples).states
        after = redecode(model, pictures, samples, change).states
    assert torch.equal(before[:, :, : QUERIES + 3], after[:, :, : QUERIES + 3])
    assert not torch.isclose(before[:, :, second], after[:, :, second]).all(-1).any()


def test_padding_does_not_matter():
    """Of the second image, with 1 object, slots 1 and 2 of both groups are padding: whatever they hold, no loss
    and no other query changes."""
    model, (pictures, samples) = build(), tiny.batch()
    padding = [QUERIES + slot for slot in (1, 2, 4, 5)]
    others = [query for query in range(QUERIES + 6) if query not in padding]

    def change(queries):
        queries.content[1, padding] = 100
        queries.anchors[1, padding] = 0.3

    with torch.no_grad():
        before = decode(model, pictures, samples)
        after = redecode(model, pictures, samples, change)
        assert torch.equal(before.states[:, 0], after.states[:, 0])
        assert torch.equal(before.states[:, 1, others], after.states[:, 1, others])
        assert not torch.isclose(before.states[:, 1, padding], after.states[:, 1, padding]).all(-1).any()
        expected, losses = (model.bbox_head.loss(output, samples) for output in (before, after))
    assert all(torch.equal(losses[name], loss) for name, loss in expected.items())


# --- Noise ------------------------------------------------------------------------------------------


def test_box_noise():
    """|Δx| < λ1·w/2, w within 1 ± λ2, evenly; the two coordinates apart."""
    torch.manual_seed(0)
    box = torch.tensor([0.5, 0.4, 0.2, 0.3], dtype=torch.float64)
    noised = noised_boxes(box.expand(20_000, 4), 0.4, 0.25)
    bounds = torch.tensor([0.4 * 0.1, 0.4 * 0.15, 0.25 * 0.2, 0.25 * 0.3], dtype=torch.float64)
    uniform = (noised - box) / bounds
    assert uniform.abs().max() <= 1
    # 20,000 draws, evenly from -1 to 1: extremes within 0.002, mean 0 and variance 1/3, no correlation.
    assert (uniform.amin(0) < -0.998).all()
    assert (uniform.amax(0) > 0.998).all()
    covariance = uniform.T @ uniform / len(uniform)
    assert (uniform.mean(0).abs() < 0.02).all()
    assert (covariance - torch.eye(4) / 3).abs().max() < 0.02


def test_boxes_stay_in_the_image_and_have_a_size():
    torch.manual_seed(0)
    whole = noised_boxes(torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(1000, 4), 0.4, 0.4)
    assert whole.max() == pytest.approx(1 - 1e-3)
    without_size = torch.tensor([0.3, 0.7, 0.0, 0.0])
    torch.testing.assert_close(noised_boxes(without_size, 0.4, 0.4), torch.tensor([0.3, 0.7, 1e-3, 1e-3]))


def test_label_noise():
    """γ of the labels are drawn anew from C classes, so that γ·(1 − 1/C) change, to all other classes alike."""
    torch.manual_seed(0)
    labels = torch.full((100_000,), 4)
    noised = noised_labels(labels, 10, 0.2)
    share = noised.bincount(minlength=10) / len(labels)
    expected = torch.full((10,), 0.2 / 10)
    expected[4] += 0.8
    assert (share - expected).abs().max() < 0.005  # four standard deviations of the widest
    assert torch.equal(noised_labels(labels, 10, 0.0), labels)
    assert (noised_labels(labels, 10, 1.0) != 4).float().mean() == pytest.approx(0.9, abs=0.005)
    torch.manual_seed(0)
    assert torch.equal(noised_labels(labels, 10, 0.2), noised)


@pytest.mark.parametrize(
    ('noise', 'changed'),
    [('center_noise', slice(0, 2)), ('size_noise', slice(2, 4)), ('label_noise', None), (None, None)],
)
def test_what_denoising_queries_hold(noise, changed):
    """Group by group the noised ground truth; each kind of noise changes what it names and nothing else."""
    model, (pictures, samples) = build(**NO_NOISE | ({noise: 0.9} if noise else {})), tiny.batch()
    queries, known = decode(model, pictures, samples).queries, decode(model, pictures, samples).queries.denoising
    truth = ground_truth_of(samples)
    assert queries.content.shape == (2, QUERIES + 2 * 3, tiny.WIDTH)
    assert known.num_matching == QUERIES
    assert list(zip(known.image.tolist(), known.query.tolist(), strict=True)) == [
        *((0, QUERIES + slot) for slot in range(6)),
        *((1, QUERIES + slot) for slot in (0, 3)),
    ]
    assert torch.equal(known.labels, torch.cat([truth.labels[0], truth.labels[0], *truth.labels[1:, :1].expand(2, 1)]))
    assert torch.equal(known.boxes, torch.cat([truth.boxes[0], truth.boxes[0], truth.boxes[1, :1], truth.boxes[1, :1]]))
    anchors = queries.anchors[known.image, known.query]
    same = (anchors == known.boxes).all(0)
    expected = torch.ones(4, dtype=torch.bool)
    if changed is not None:
        expected[changed] = False
        assert not (anchors == known.boxes)[:, changed].any()
    assert torch.equal(same, expected)
    content = queries.content[known.image, known.query]
    is_own = (content == model.query_generator.label_embedding[known.labels]).all(-1)
    assert is_own.all() == (noise != 'label_noise')
    assert is_own.any() or noise != 'label_noise'


def test_seed_reproduces_the_noise():
    model, batch = build(), tiny.batch()
    first, again, other = (losses_of(model, *batch, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in DN_NAMES)


# --- Losses -----------------------------------------------------------------------------------------


def test_losses_by_hand():
    """Two layers, an image with one object beside one with none; 2 groups, of which each has one slot of padding.

    Logits are the state itself and boxes the references. Of the two denoising queries the first is right but for
    its width in layer 0 and wholly in layer 1, the second the other way round.
    """
    head = MODELS.build(tiny.tiny_config(bbox_head=dict(embed_dims=CLASSES)).bbox_head)
    head.init_weights()
    torch.nn.init.eye_(head.class_branch.weight)
    torch.nn.init.zeros_(head.class_branch.bias)
    true, narrow = [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.25, 0.5]
    states, references = torch.full((2, 2, 6, CLASSES), 9.0), torch.full((2, 2, 6, 4), 0.1)
    states[:, :, :2] = -3.0
    states[:, 0, 2], states[:, 0, 4] = torch.tensor([-2.0, 0.0, -2.0]), torch.tensor([-1.0, 1.0, -2.0])
    references[0, 0, 2], references[0, 0, 4] = torch.tensor(narrow), torch.tensor(true)
    references[1, 0, 2], references[1, 0, 4] = torch.tensor(true), torch.tensor(narrow)
    image, query = torch.tensor([0, 0]), torch.tensor([2, 4])
    known = Denoising(2, image, query, torch.tensor([1, 1]), torch.tensor([true, true]))
    _, samples = tiny.batch(sizes=[(100, 200)] * 2, counts=[1, 0])
    samples[0].gt_instances.labels[:] = 1
    samples[0].gt_instances.bboxes[:] = torch.tensor([50.0, 25.0, 150.0, 75.0])
    queries = Queries(states[0], references[0], denoising=known)
    losses = head.loss(DecoderOutput(states, references, queries), samples)

    def focal(logit, is_class):
        p = 1 / (1 + math.exp(-logit))
        return -0.25 * (1 - p) ** 2 * math.log(p) if is_class else -0.75 * p**2 * math.log(1 - p)

    classes = focal(0, True) + 2 * focal(-2, False) + focal(1, True) + focal(-1, False) + focal(-2, False)
    for prefix in ('', 'd0.'):
        assert losses[prefix + 'dn_loss_cls'].item() == pytest.approx(classes / 2, rel=1e-5)
        assert losses[prefix + 'dn_loss_bbox'].item() == pytest.approx(5 * 0.25 / 2, rel=1e-4)
        assert losses[prefix + 'dn_loss_iou'].item() == pytest.approx(2 * (1 - 0.5) / 2, rel=1e-4)
        # Matching has the first two queries only: one class of four queries is right.
        matching = focal(-3, True) + 11 * focal(-3, False)
        assert losses[prefix + 'loss_cls'].item() == pytest.approx(matching, rel=1e-5)
    assert list(losses) == [*TERMS, *DN_NAMES[:3], *('d0.' + term for term in TERMS), *DN_NAMES[3:6]]


def test_losses_of_a_batch_are_those_of_its_images():
    """Without noise, on the same canvas: the sums over objects add up, whatever the number of objects."""
    model = build(**NO_NOISE)
    pictures, samples = tiny.batch(sizes=[(64, 96)] * 3, counts=[3, 0, 1])
    whole = losses_of(model, pictures, samples)
    first, last = (losses_of(model, pictures[i : i + 1], samples[i : i + 1]) for i in (0, 2))
    for name in DN_NAMES:
        torch.testing.assert_close(whole[name], (3 * first[name] + last[name]) / 4, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize('counts', [[3, 1], [0, 2], [9, 1], [0, 0]])
def test_any_number_of_objects(counts):
    """More than queries, none in an image, none in the batch: finite losses, and a gradient for every parameter."""
    model, (pictures, samples) = build(), tiny.batch(counts=counts)
    assert decode(model, pictures, samples).states.size(2) == QUERIES + 2 * max(counts)
    losses = losses_of(model, pictures, samples)
    assert set(DN_NAMES) < set(losses)
    assert all(loss.isfinite() for loss in losses.values())
    assert all((losses[name] > 0) == any(counts) for name in DN_NAMES)
    sum(losses.values()).backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not idle
    assert bool(model.query_generator.label_embedding.grad.any()) == any(counts)


def test_without_objects_the_losses_are_those_without_denoising():
    batch = tiny.batch(counts=[0, 0])
    losses, expected = losses_of(build(), *batch), losses_of(tiny.build().train(), *batch)
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-5, atol=1e-6, msg=name)


def test_low_precision():
    model, batch = build(), tiny.batch()
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(model, *batch)
    expected = losses_of(model, *batch)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    for name in DN_NAMES:
        torch.testing.assert_close(losses[name], expected[name], rtol=0.1, atol=0.05, msg=name)


# --- The same model without it ----------------------------------------------------------------------


def test_zero_groups_are_dab_detr_bit_for_bit():
    """From the seed on: initial weights, losses, gradients."""
    plain, none = tiny.tiny_config(), tiny.tiny_config()
    none.query_generator = wrapping(num_groups=0)
    results = []
    for config in (plain, none):
        torch.manual_seed(5)
        model = MODELS.build(config)
        model.init_weights()
        losses = model.train()(*tiny.batch(), mode='loss')
        sum(losses.values()).backward()
        values = {name.replace('generator.generator.', 'generator.'): p for name, p in model.named_parameters()}
        results.append((values, losses))
    (expected_values, expected_losses), (values, losses) = results
    assert list(losses) == list(expected_losses)
    assert list(values) == list(expected_values)
    assert all(torch.equal(losses[name], loss) for name, loss in expected_losses.items())
    for name, parameter in expected_values.items():
        assert torch.equal(values[name], parameter), name
        assert torch.equal(values[name].grad, parameter.grad), name


def test_at_test_time_it_is_the_wrapped_generator():
    """Bit for bit, in evaluation and wherever no ground truth is given."""
    model, plain = build().eval(), tiny.build()
    pictures, samples = tiny.batch()
    with torch.no_grad():
        queries = model.decode(pictures, samples).queries
        assert queries.denoising is None
        assert queries.attention_mask is None
        for output, expected in zip(model(pictures, samples), plain(pictures, samples), strict=True):
            assert torch.equal(output, expected)
        found, expected = (m(pictures, copy.deepcopy(samples), mode='predict') for m in (model, plain))
        model.train()
        assert model(pictures)[0].shape == model(pictures, samples)[0].shape == (3, 2, QUERIES, CLASSES)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.pred_instances.bboxes, other.pred_instances.bboxes)
        assert torch.equal(one.pred_instances.scores, other.pred_instances.scores)


@pytest.mark.parametrize(
    'options', [dict(num_patterns=2), dict(fixed_centers=True), dict(learned_content=True)], ids=lambda o: next(iter(o))
)
def test_wraps_every_kind_of_anchors(options):
    """Only the number of matching queries is its business."""
    model = build(generator=dict(tiny.tiny_config().query_generator, **options))
    pictures, samples = tiny.batch()
    queries = decode(model, pictures, samples).queries
    padding = canvas_padding(samples, pictures)
    tokens = model.tokenizer(model.extract_feat(pictures), padding, model.positional_encoder)
    inner = model.query_generator.generator(tokens)
    matching = QUERIES * options.get('num_patterns', 1)
    assert queries.denoising.num_matching == matching
    assert torch.equal(queries.content[:, :matching], inner.content)
    assert torch.equal(queries.anchors[:, :matching], inner.anchors)
    losses = losses_of(model, pictures, samples)
    assert all(loss.isfinite() for loss in losses.values())


def test_label_embedding_goes_by_class_names_when_fine_tuning():
    rows = {'bbox_head.class_branch.weight', 'bbox_head.class_branch.bias'}
    assert set(class_tensors(build())) == {'query_generator.label_embedding', *rows}
    assert set(class_tensors(build(num_groups=0))) == rows


# --- Configs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'base'),
    [
        ('dn_detr_r50_50e.py', 'dab_detr_r50_50e.py'),
        ('dn_detr_shapes_5min.py', 'shapes/dab_detr_shapes_5min.py'),
    ],
)
def test_config_is_its_base_and_denoising(name, base):
    """The paper's 5 groups, λ1 = λ2 = 0.4 and γ = 0.2; all else is the base's."""
    config, base = (load_config(str(CONFIGS / path), {}) for path in (f'mix/{name}', base))
    part = MODELS.build(tiny.handed_down(config.model).query_generator)
    assert (part.num_groups, part.center_noise, part.size_noise, part.label_noise) == (5, 0.4, 0.4, 0.2)
    config.model.query_generator = config.model.query_generator.generator
    assert config.to_dict() == base.to_dict()


# --- What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (
            dict(generator=dict(tiny.tiny_config().query_generator, anchor_dims=2)),
            'DenoisingQueryGenerator: generator.anchor_dims=2 must be 4: the noised boxes have a width and a height',
        ),
        (dict(num_classes=0), 'num_classes=0 must be at least 1'),
        (dict(num_groups=-1), 'num_groups=-1 must be at least 0'),
        (dict(center_noise=1.0), 'center_noise=1.0 must be at least 0 and less than 1'),
        (dict(size_noise=-0.1), 'size_noise=-0.1 must be at least 0 and less than 1'),
        (dict(label_noise=1.1), 'label_noise=1.1 must be between 0 and 1'),
    ],
)
def test_refused_when_built(overrides, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(wrapping(**overrides))


def test_other_number_of_classes_than_the_head_is_refused():
    with pytest.raises(ValueError, match=r'\(DenoisingQueryGenerator\) has num_classes=4, but bbox_head'):
        build(num_classes=4)


@pytest.mark.parametrize('change', [dict(anchors=None), dict(denoising=Denoising(*[None] * 5))], ids=['none', 'twice'])
def test_queries_that_cannot_be_wrapped_are_named(change):
    model = build()
    inner = model.query_generator.generator
    wrapped_forward = inner.forward
    inner.forward = lambda *args: replace(wrapped_forward(*args), **change)
    with pytest.raises(ValueError, match='without denoising, but AnchorQueryGenerator, which it wraps'):
        decode(model, *tiny.batch())


# --- Two processes ----------------------------------------------------------------------------------

COUNTS = [3, 1, 0, 0]
#: For a process that waits in vain.
PATIENCE = timedelta(minutes=2)


def process(rank, port, results):
    """Images 0 and 1, or 2 and 3, which have no objects; on the canvas of all four."""
    torch.set_num_threads(1)
    init_default_scope('mmdet')
    dist.init_process_group('gloo', timeout=PATIENCE)
    pictures, samples = tiny.batch([(64, 96)] * 4, COUNTS)
    mine = slice(2 * rank, 2 * rank + 2)
    wrapped = DistributedDataParallel(LossOf(build(**NO_NOISE)))
    losses = wrapped(pictures[mine], samples[mine])
    sum(losses.values()).backward()
    results[rank] = ({name: loss.item() for name, loss in losses.items()}, gradients(wrapped.module.model))
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_of_which_one_has_no_objects():
    """Loss and gradient of one process with the whole batch; neither waits for the other, no parameter is unused."""
    with mp.Manager() as manager:
        results = manager.dict()
        run_in_two_processes(process, results)
        (first, first_gradient), (second, _) = results[0], results[1]
    model = build(**NO_NOISE)
    losses = model(*tiny.batch([(64, 96)] * 4, COUNTS), mode='loss')
    sum(losses.values()).backward()
    for name, loss in losses.items():
        mean = torch.tensor((first[name] + second[name]) / 2)
        torch.testing.assert_close(mean, loss.detach(), rtol=1e-5, atol=1e-6, msg=name)
    assert first['dn_loss_bbox'] > second['dn_loss_bbox'] == 0
    whole = gradients(model)
    assert set(whole) == set(first_gradient)
    for name, gradient in whole.items():
        scale = max(abs(gradient).max(), 1e-2)
        assert abs(first_gradient[name] - gradient).max() < 1e-4 * scale, name
