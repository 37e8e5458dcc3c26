"""Mixed precision on a CPU: what computes in bfloat16, and what does not."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmdet_dab.commands.train import use_mixed_precision
from mmdet_dab.config import load_config
from tests.helpers import tiny


def steps(kind: str, model: nn.Module, number: int = 3) -> list[float]:
    """Train some steps; return the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    wrapper = OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer, clip_grad=dict(max_norm=1.0)))
    inputs, samples = tiny.batch()
    losses = []
    for _ in range(number):
        with wrapper.optim_context(model):
            terms = model.loss(inputs, samples)
        loss = sum(terms.values())
        wrapper.update_params(loss)
        losses.append(float(loss))
    return losses


def test_it_trains_as_float32_does_but_for_rounding():
    torch.manual_seed(0)
    exact = steps('OptimWrapper', tiny.build().train())
    torch.manual_seed(0)
    model = tiny.build().train()
    found = steps('CPUAmpOptimWrapper', model)
    assert found != exact
    assert found == pytest.approx(exact, rel=0.05)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_products_are_bfloat16_and_anchors_float32():
    model = tiny.build().train()
    seen: dict[str, torch.dtype] = {}
    layer = model.decoder.layers[1]
    layer.feed_forward.expand.register_forward_hook(lambda _, __, out: seen.update(product=out.dtype))
    layer.register_forward_pre_hook(lambda _, inputs: seen.update(anchors=inputs[2].dtype))
    steps('CPUAmpOptimWrapper', model, number=1)
    assert seen == dict(product=torch.bfloat16, anchors=torch.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes mmengine's own wrapper")
def test_the_option_chooses_it_without_a_gpu():
    cfg = load_config('shapes/demo')
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper.type == 'CPUAmpOptimWrapper'
