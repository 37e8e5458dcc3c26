"""Files that claim more than they hold are refused before they take memory."""

from __future__ import annotations

import resource
import zipfile

import pytest
import torch

from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.errors import CheckpointError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1 << 20)}}, path)
    return path


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_compressed_bomb_is_not_unpacked(file, tmp_path):
    bomb = tmp_path / 'bomb.pth'
    before = peak()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(bomb, 'w', zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if name.endswith('data/0'):
                with target.open(name, 'w', force_zip64=True) as part:
                    for _ in range(256):
                        part.write(bytes(1 << 20))
            else:
                target.writestr(name, source.read(name))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match='bomb'):
        read_checkpoint(bomb)
    assert peak() - before < 100_000  # kilobytes; unpacked it has 256 MB


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    path = tmp_path / 'claims.pth'
    torch.save({'state_dict': {'small': torch.zeros(3), 'claims': torch.zeros(1).expand(10**6, 10**6)}}, path)
    with pytest.raises(CheckpointError, match=r'state_dict\.claims'):
        read_checkpoint(path)


def test_parts_that_hold_one_another_end(tmp_path):
    """A list that stands in itself a thousand times over would never be walked through otherwise."""
    path = tmp_path / 'nested.pth'
    nested = [torch.zeros(1)]
    for _ in range(200):
        nested = [nested, nested]
    torch.save({'weight': torch.zeros(2), 'nested': nested}, path)
    assert read_checkpoint(path)['weight'].shape == (2,)


def test_shared_and_transposed_tensors_are_read(tmp_path):
    path = tmp_path / 'views.pth'
    whole = torch.arange(12.0).view(3, 4)
    torch.save({'whole': whole, 'part': whole[1:], 'turned': whole.t(), 'empty': torch.zeros(0, 4)}, path)
    assert torch.equal(read_checkpoint(path)['turned'], whole.t())
