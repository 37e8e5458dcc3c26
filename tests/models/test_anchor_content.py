"""Content that knows its anchor: by hand, with patterns, and learned through."""

from __future__ import annotations

import torch

from mmdet_dab.models import ImageTokens
from mmdet_dab.registry import MODELS
from tests.helpers import tiny

TOKENS = ImageTokens(torch.zeros(2, 3, 8), torch.zeros(2, 3, 8), None, ((1, 3),), torch.ones(2, 1, 2))


def build(**settings):
    kind = dict(type='AnchorContentQueryGenerator', initial_anchors=dict(type='NormalAnchors'))
    return MODELS.build(dict(kind, num_queries=5, embed_dims=8, **settings))


def test_content_is_a_linear_function_of_the_anchor():
    generator = build()
    logits = torch.cat((generator.centers, generator.sizes), dim=1)
    expected = logits @ generator.anchor_content.weight.T + generator.anchor_content.bias
    queries = generator(TOKENS)
    assert queries.anchors.shape == (2, 5, 4)
    torch.testing.assert_close(queries.content, expected.expand(2, -1, -1), atol=1e-4, rtol=0)


def test_points_and_patterns():
    generator = build(anchor_dims=2, num_patterns=3)
    content = generator(TOKENS).content[0].unflatten(0, (3, 5))
    added = generator.anchor_content(generator.centers)
    torch.testing.assert_close(content, added + generator.patterns[:, None], atol=1e-4, rtol=0)


def test_a_loss_reaches_it():
    model = tiny.build(query_generator=dict(type='AnchorContentQueryGenerator'))
    images, samples = tiny.batch()
    sum(model.train()(images, samples, mode='loss').values()).backward()
    assert model.query_generator.anchor_content.weight.grad.abs().max() > 0


def test_values_of_the_detector_reach_it():
    """Its arguments are those of the part that it is derived from."""
    config = tiny.tiny_config(query_generator=dict(type='AnchorContentQueryGenerator'))
    config.query_generator.pop('num_queries', None)
    model = MODELS.build(dict(config, num_queries=9))
    assert model.query_generator.centers.shape == (9, 2)
