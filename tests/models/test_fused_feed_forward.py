"""The feed-forward block of training on a CPU, beside its three modules."""

import copy

import pytest
import torch
from torch import nn

from mmdet_dab.models import fused_feed_forward
from mmdet_dab.models.layers import FeedForward

D = 16
HIDDEN = 4 * D


@pytest.fixture(params=[0.25, 0.0, -0.3])
def block(request):
    torch.manual_seed(0)
    part = FeedForward(D, HIDDEN).double()
    nn.init.constant_(part.activation.weight, request.param)
    return part


def content(rows=7, dtype=torch.double):
    return torch.randn(2, rows, D, dtype=dtype, generator=torch.Generator().manual_seed(1))


def by_modules(part, x):
    return part.shrink(part.activation(part.expand(x)))


def gradients(part, forward, x, weights):
    """Output, and gradients of the content and of all parameters."""
    part.zero_grad()
    x = x.clone().requires_grad_()
    out = forward(part, x)
    (out * weights).sum().backward()
    return [out, x.grad, *(parameter.grad.clone() for parameter in part.parameters())]


def is_fused(part, x):
    return '_FeedForward' in type(part(x).grad_fn.next_functions[0][0]).__name__


@pytest.mark.parametrize('bytes_of_a_piece', [1, 3 * HIDDEN * 8, 2**23])
def test_equal_to_the_modules(block, bytes_of_a_piece, monkeypatch):
    monkeypatch.setattr(fused_feed_forward, 'PIECE', bytes_of_a_piece)
    weights = torch.randn(2, 7, D, dtype=torch.double)
    assert is_fused(block, content())
    found = gradients(block, FeedForward.__call__, content(), weights)
    wanted = gradients(block, by_modules, content(), weights)
    assert len(found) == 7
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_gradients_are_those_of_differences(block):
    x = content(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x, *block.parameters()))


def test_float32_is_as_exact_as_the_modules(block):
    single, weights = copy.deepcopy(block).float(), torch.randn(2, 500, D, dtype=torch.double)
    exact = gradients(block, by_modules, content(500), weights)
    found = gradients(single, FeedForward.__call__, content(500).float(), weights.float())
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=2e-5)


def test_under_autocast_as_exact_as_the_modules(block):
    single, weights = copy.deepcopy(block).float(), torch.randn(2, 500, D)
    with torch.autocast('cpu', torch.bfloat16):
        assert is_fused(single, content(500).float())
        found = gradients(single, FeedForward.__call__, content(500).float(), weights)
        of_modules = gradients(single, by_modules, content(500).float(), weights)
    exact = gradients(block, by_modules, content(500), weights.double())
    for ours, theirs, wanted in zip(found, of_modules, exact, strict=True):
        assert ours.dtype == theirs.dtype
        assert 0 < (ours - wanted).norm() <= 1.1 * (theirs - wanted).norm() + wanted.norm() / 256  # its last bit


def test_keeps_the_hidden_layer_once(block):
    def kept(forward):
        seen = {}

        def pack(tensor):
            seen[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(block, content(500))
        return sum(tensor.numel() == 2 * 500 * HIDDEN for tensor in seen.values())

    assert (kept(by_modules), kept(FeedForward.__call__)) == (2, 1)


def test_frozen_parts_get_no_gradient(block):
    block.expand.requires_grad_(False)
    block(content()).sum().backward()
    assert block.expand.weight.grad is None
    assert block.shrink.weight.grad is not None


@pytest.mark.parametrize('name', ['expand', 'activation', 'shrink'])
def test_a_watched_module_is_called(block, name):
    seen = []
    block.get_submodule(name).register_forward_hook(lambda *_: seen.append(name))
    block(content())
    assert seen == [name]


def test_other_modules_are_called(block):
    class Mine(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    before = block(content())
    mine = Mine(HIDDEN, D).double()
    mine.load_state_dict(block.shrink.state_dict())
    block.shrink = mine
    torch.testing.assert_close(block(content()), before + 1)


@pytest.mark.parametrize('name', ['expand', 'shrink'])
def test_without_a_bias_the_modules_are_called(block, name):
    block.get_submodule(name).register_parameter('bias', None)
    torch.testing.assert_close(block(content()), by_modules(block, content()))


def test_dropout_takes_the_modules():
    torch.manual_seed(0)
    part = FeedForward(D, HIDDEN, dropout=0.5).double()
    assert not torch.equal(part(content()), part(content()))
    part.eval()
    assert is_fused(part, content())


def test_predictions_take_the_modules(block):
    seen = []
    block.expand.forward = lambda x, real=block.expand.forward: seen.append(x) or real(x)
    with torch.no_grad():
        block(content())
    assert len(seen) == 1
