"""torch.compile: no graph break, and no graph of its own for every size of image."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from mmdet_dab import optimize_for_inference
from mmdet_dab.registry import HOOKS
from tests.helpers import tiny

SIZES = [(64, 96), (96, 64), (128, 160)]


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def shallow():
    """Two decoder layers, what the first does and what all others do, behind a backbone of one convolution."""
    model = tiny.build(decoder=dict(num_layers=2))
    model.backbone, model.neck = nn.Conv2d(3, tiny.WIDTH, 16, stride=16), Maps()
    return model


class Maps(nn.Module):
    """A neck for one feature map."""

    def forward(self, features):
        return (features,)


def test_images_to_boxes_is_one_graph_for_all_sizes():
    """With ``fullgraph`` a graph break is an error. Batches without padding have one graph, those with it another."""
    model, compiler = shallow(), CompileCounter()

    def outputs(images, samples):
        return model(images, samples, mode='tensor')

    compiled = torch.compile(outputs, backend=compiler, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for graphs, padded in ((1, False), (2, True)):
            for size in SIZES:
                images, samples = tiny.batch([size, (48, 48) if padded else size], [0, 0])
                for found, expected in zip(compiled(images, samples), outputs(images, samples), strict=True):
                    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
                assert compiler.frame_count == graphs


def test_training_is_one_graph_up_to_the_boxes():
    """Gradients are those without compiling."""
    model, compiler = shallow().train(), CompileCounter()
    compiled = torch.compile(model.decode, backend=compiler, fullgraph=True, dynamic=True)
    for size in SIZES:
        images, samples = tiny.batch([size, size])
        gradients = []
        for decode in (model.decode, compiled):
            model.zero_grad()
            output = decode(images, samples)
            (output.states.sin().sum() + output.references.sin().sum()).backward()
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        expected, found = gradients
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4, msg=f'{size}, {name}')
        assert compiler.frame_count == 1


def test_optimised_and_compiled_predicts_the_same():
    plain, model = shallow(), shallow()
    runner = SimpleNamespace(model=model, hooks=[])
    HOOKS.build(dict(type='mmdet_dab.OptimizeForInferenceHook', compile_with='eager')).before_test(runner)
    assert optimize_for_inference(model, compile_with='eager') is model
    graphs = []
    with torch.no_grad():
        for size in SIZES:
            images, samples = tiny.batch([size, size], [0, 0])
            expected = plain(images, samples, mode='predict')[0].pred_instances.scores
            found = model(images, samples, mode='predict')[0].pred_instances.scores
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
            graphs.append(counters['stats']['unique_graphs'])
    assert graphs[0] >= 4  # backbone, neck, encoder, decoder, and the hooks that set the precision
    assert graphs == [graphs[0]] * len(SIZES)
    assert not counters['graph_break']


def test_averaging_and_optimising_do_not_go_together():
    runner = SimpleNamespace(model=shallow(), hooks=[EMAHook()])
    with pytest.raises(ValueError, match='leave EMAHook out'):
        HOOKS.build(dict(type='mmdet_dab.OptimizeForInferenceHook')).before_test(runner)
