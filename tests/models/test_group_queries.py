"""Group DETR: groups learn side by side, and the first does not know of the others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmdet_dab.models.group_queries import group_mask
from mmdet_dab.registry import MODELS
from tests.helpers import tiny

QUERIES, GROUPS = 7, 3


def grouped(generator=None, **settings) -> dict:
    generator = generator or tiny.tiny_config().query_generator
    return dict(type='mmdet_dab.GroupQueryGenerator', generator=generator, num_groups=GROUPS, **settings)


def denoising(generator: dict) -> dict:
    return dict(
        type='mmdet_dab.DenoisingQueryGenerator',
        generator=generator,
        num_classes=3,
        num_groups=2,
        embed_dims=tiny.WIDTH,
    )


def build(query_generator: dict) -> nn.Module:
    return tiny.build(query_generator=dict(query_generator, _delete_=True)).train()


def losses_of(model: nn.Module, pictures, samples) -> dict:
    torch.manual_seed(5)
    return model(pictures, samples, mode='loss')


def test_mask_by_hand():
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert group_mask(2, 2, torch.device('cpu')).int().tolist() == expected


def test_at_test_time_it_is_the_model_without_groups():
    """Bit for bit, in evaluation and wherever no ground truth is given; from the same seed."""
    model, plain = build(grouped()).eval(), tiny.build()
    pictures, samples = tiny.batch()
    with torch.no_grad():
        for output, expected in zip(model(pictures, samples), plain(pictures, samples), strict=True):
            assert torch.equal(output, expected)
        assert model.decode(pictures, samples).queries.attention_mask is None
        assert model.train()(pictures)[0].shape == (3, 2, QUERIES, 3)


def test_losses_are_the_mean_of_models_of_one_group():
    model, plain = build(grouped()), tiny.build().train()
    pictures, samples = tiny.batch()
    losses = losses_of(model, pictures, samples)
    generators = [model.query_generator.generator, *model.query_generator.further]
    alone = []
    for generator in generators:
        plain.query_generator.load_state_dict(generator.state_dict())
        alone.append(losses_of(plain, pictures, samples))
    assert losses.keys() == alone[0].keys()
    assert len({loss['loss_bbox'].item() for loss in alone}) == GROUPS
    for name, loss in losses.items():
        torch.testing.assert_close(loss, torch.stack([one[name] for one in alone]).mean(), rtol=1e-4, atol=1e-5)


def test_a_cost_that_is_not_finite_is_named_by_layer_and_group():
    """The matcher sees three groups of three layers as nine layers; this one is its eighth."""
    model, (pictures, samples) = build(grouped()), tiny.batch()
    output = model.decode(pictures, samples)
    output.states.data[2, 1, 1 * QUERIES + 3] = torch.nan
    with pytest.raises(ValueError, match=r'decoder layer 2, group 1\b.*, image 1'):
        model.bbox_head.loss(output, samples)


def test_every_group_is_trained():
    model = build(grouped())
    sum(losses_of(model, *tiny.batch()).values()).backward()
    gradients = [generator.centers.grad for generator in model.query_generator.further]
    assert len(gradients) == GROUPS - 1
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize('counts', [[3, 1], [0, 0], [9, 2]])
def test_denoising_around_groups_is_denoising_around_the_first(counts):
    """Denoising queries of both models are made of the same noise, and see the same queries."""
    model, plain = build(denoising(grouped())), build(denoising(tiny.tiny_config().query_generator))
    with torch.no_grad():  # the generators were drawn in another order
        plain.query_generator.label_embedding.copy_(model.query_generator.label_embedding)
    plain.query_generator.generator.load_state_dict(model.query_generator.generator.generator.state_dict())
    batch = tiny.batch(counts=counts)
    losses, expected = losses_of(model, *batch), losses_of(plain, *batch)
    assert losses.keys() == expected.keys()
    for name in losses:
        if 'dn_' in name:
            torch.testing.assert_close(losses[name], expected[name], rtol=1e-4, atol=1e-5)
    sum(losses.values()).backward()


def test_no_group_feels_another():
    """Denoising queries, which come last, look at the first group alone."""
    model, batch = build(denoising(grouped())), tiny.batch()

    def states() -> torch.Tensor:
        torch.manual_seed(0)
        return model.decode(*batch).states

    before = states()
    nn.init.constant_(model.query_generator.generator.further[0].centers, 3.0)
    changed = (states() - before).abs().amax((0, 1, 3)) > 1e-5
    assert changed.nonzero().flatten().tolist() == list(range(QUERIES, 2 * QUERIES))


def test_groups_that_start_alike_are_told_apart_by_jitter():
    alike = dict(tiny.tiny_config().query_generator, initial_anchors=dict(type='mmdet_dab.GridAnchors', size=0.2))
    pictures, samples = tiny.batch()
    for jitter, groups in ((0.0, 1), (0.5, GROUPS)):
        torch.manual_seed(0)
        queries = build(grouped(alike, jitter=jitter)).decode(pictures, samples).queries
        anchors = queries.anchors[0].detach().unflatten(0, (GROUPS, QUERIES))
        assert len({tuple(group.flatten().tolist()) for group in anchors}) == groups
        torch.testing.assert_close(anchors[0], build(grouped(alike)).query_generator.generator.anchors())
    moved = anchors[1:].logit() - anchors[0].logit()
    assert moved.std().item() == pytest.approx(0.5, rel=0.3)


def test_queries_without_anchors_come_in_groups_too():
    generator = dict(type='mmdet_dab.LearnedQueryGenerator', num_queries=QUERIES, embed_dims=tiny.WIDTH)
    part = MODELS.build(grouped(generator))
    tokens = build(grouped()).decode(*tiny.batch()).queries  # only content is read, for its batch
    queries = part(tokens, [])
    assert queries.anchors is None
    assert queries.position.shape == (2, GROUPS * QUERIES, tiny.WIDTH)
    with pytest.raises(ValueError, match='jitter'):
        MODELS.build(grouped(generator, jitter=0.1))


@pytest.mark.parametrize(('settings', 'named'), [(dict(num_groups=0), 'num_groups=0'), (dict(jitter=-1), 'jitter=-1')])
def test_arguments_out_of_range_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        MODELS.build(dict(grouped(), **settings))


def test_groups_around_denoising_are_refused():
    with pytest.raises(ValueError, match='DenoisingQueryGenerator'):
        build(grouped(denoising(tiny.tiny_config().query_generator))).decode(*tiny.batch())
