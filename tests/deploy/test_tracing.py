"""What cannot be exported is refused by the name of the part, and what bakes sizes in has another form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from torch import Tensor, nn

from mmdet_dab.deploy import exporter
from mmdet_dab.deploy.exportable import make_exportable
from mmdet_dab.deploy.tracing import part_with, traced
from mmdet_dab.errors import ConfigError


class BakesTheBatch(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * int(images.size(0))


class BakesTheHeight(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * float(images.size(2))


class LooksAtNumbers(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum().item() > 0 else -images


class NoOperationOfOnnx(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.qr(images).R


class Program(nn.Module):
    """As much of a detector as tracing asks for."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.detector = nn.Sequential(nn.Identity(), part)

    def forward(self, images: Tensor, valid_sizes: Tensor) -> Tensor:
        return self.detector(images).sum((1, 2, 3)) + valid_sizes.sum(1)


@pytest.mark.parametrize('part', [BakesTheBatch, BakesTheHeight, LooksAtNumbers])
def test_a_part_that_cannot_be_traced_is_named(part: type[nn.Module]):
    with pytest.raises(ConfigError, match=rf'^1 \({part.__name__}\)'):
        traced(Program(part()), torch.float32)


def test_a_part_that_onnx_has_no_operation_for_is_named(tmp_path: Path):
    exported = traced(Program(NoOperationOfOnnx()), torch.float32)
    assert part_with(exported, 'aten.linalg_qr') == '1 (NoOperationOfOnnx)'
    with pytest.raises(ConfigError, match=r'^1 \(NoOperationOfOnnx\).*ONNX.*linalg_qr'):
        exporter.write_onnx(exported, tmp_path / 'model.onnx', None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('size', [(64, 96), (57, 71), (112, 224), (33, 130)])
def test_swin_computes_the_same_in_its_exportable_form(size: tuple[int, int]):
    """Windows of 7 and shifts of 3, at sizes that fill windows and sizes that do not."""
    torch.manual_seed(0)
    arguments = dict(embed_dims=8, depths=(2, 2, 2, 1), num_heads=(1, 2, 2, 4), drop_path_rate=0.0)
    theirs, ours = SwinTransformer(**arguments), SwinTransformer(**arguments)
    theirs.eval()
    ours.eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
        ours.load_state_dict(theirs.state_dict())
        make_exportable(ours)
        images = torch.randn(3, 3, *size)
        for found, expected in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert {type(module).__name__ for module in ours.modules()} >= {'ExportableWindows', 'ExportableMerging'}
