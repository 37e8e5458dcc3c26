"""Layer norm of every cell."""

from __future__ import annotations

import torch
from mmdet.models.necks import ChannelMapper

from mmdet_dab.registry import MODELS


def test_cells_by_hand():
    """Channels 1, 3 of one cell and 10, 10 of another: mean 2 and deviation 1, mean 10 and none."""
    norm = MODELS.build(dict(type='mmdet_dab.CellNorm', num_channels=2, eps=1e-12))
    x = torch.tensor([[[[1.0, 10.0]], [[3.0, 10.0]]]])
    torch.testing.assert_close(norm(x), torch.tensor([[[[-1.0, 0.0]], [[1.0, 0.0]]]]))


def test_a_cell_depends_on_itself_alone_in_a_neck():
    torch.manual_seed(0)
    neck = ChannelMapper([3], out_channels=8, kernel_size=1, act_cfg=None, norm_cfg=dict(type='mmdet_dab.CellNorm'))
    x = torch.randn(1, 3, 4, 5)
    before = neck((x,))[0]
    x[..., 3:] = 100
    after = neck((x,))[0]
    assert torch.equal(after[..., :3], before[..., :3])
    assert after.is_contiguous() or after.is_contiguous(memory_format=torch.channels_last)
