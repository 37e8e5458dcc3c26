"""Reading checkpoint files without running what is in them."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdet_dab.checkpoints.loading import CheckpointError, read_checkpoint, read_weights


class Code:
    """Pickles as a call of ``os.system`` that leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f'touch {self.trace}',)


def refusal(path: Path, **options: Any) -> str:
    """The message of the error, which must name the file."""
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path, **options)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('zipped', [True, False])
def test_tensors_and_plain_data_come_back(tmp_path: Path, zipped: bool):
    saved = {'state_dict': {'weight': torch.arange(3.0)}, 'meta': {'epoch': 3, 'names': ('cat', 'dog')}}
    torch.save(saved, tmp_path / 'good.pth', _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(str(tmp_path / 'good.pth'))
    assert torch.equal(read['state_dict']['weight'], torch.arange(3.0))
    assert read['meta'] == saved['meta']


@pytest.mark.parametrize(
    'write',
    [
        lambda code, path: torch.save({'state_dict': code}, path),
        lambda code, path: torch.save(code, path, _use_new_zipfile_serialization=False),
        lambda code, path: torch.save(code, path, pickle_protocol=4),
        lambda code, path: path.write_bytes(pickle.dumps(code)),
        lambda code, path: path.write_bytes(pickle.dumps(code, protocol=2)),
    ],
    ids=['zip', 'legacy', 'protocol 4', 'plain pickle', 'plain pickle 2'],
)
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, write: Any):
    path, trace = tmp_path / 'code.pth', tmp_path / 'trace'
    write(Code(trace), path)
    assert f'carries code or objects that are not weights: {os.system.__module__}.system.' in refusal(path)
    assert not trace.exists()


def test_whole_modules_are_refused_by_name(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'module.pth')
    assert 'torch.nn.modules.linear.Linear' in refusal(tmp_path / 'module.pth')


def test_a_type_is_allowed_for_one_file_only(tmp_path: Path):
    path = tmp_path / 'detr.pth'
    torch.save({'model': {}, 'args': argparse.Namespace(num_queries=300)}, path)
    before = set(torch.serialization.get_safe_globals())
    assert 'argparse.Namespace' in refusal(path)
    assert read_checkpoint(path, allow=(argparse.Namespace,))['args'].num_queries == 300
    assert 'argparse.Namespace' in refusal(path)
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_type_that_was_allowed_before_stays_allowed(tmp_path: Path):
    path = tmp_path / 'detr.pth'
    torch.save(argparse.Namespace(), path)
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        read_checkpoint(path, allow=(argparse.Namespace,))
        read_checkpoint(path)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('kept', [0.0, 0.02, 0.5, 0.99])
def test_files_that_break_off_are_refused(tmp_path: Path, zipped: bool, kept: float):
    path = tmp_path / 'cut.pth'
    torch.save({'weight': torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refusal(path)
    assert 'is empty' in message if kept == 0.0 else 'is cut off, damaged or not a checkpoint' in message
    assert 'weights_only' not in message, "torch's advice to read it without limits is no advice"


@pytest.mark.parametrize('content', [b'<html>404 Not Found</html>', b'PK\x03\x04 not really', b'\x00' * 64])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / 'other.pth').write_bytes(content)
    assert 'is cut off, damaged or not a checkpoint' in refusal(tmp_path / 'other.pth')


def test_weights_in_another_pickle_protocol_are_not_called_code(tmp_path: Path):
    torch.save({'weight': torch.ones(3)}, tmp_path / 'new.pth', pickle_protocol=4)
    assert 'pickle protocol 2' in refusal(tmp_path / 'new.pth')


def test_missing_files_and_folders_are_refused(tmp_path: Path):
    assert 'does not exist' in refusal(tmp_path / 'gone.pth')
    assert 'is a folder' in refusal(tmp_path)


# --- The tensors of a model, from files of any framework


@pytest.mark.parametrize('key', ['state_dict', 'model', None])
def test_weights_are_found_under_the_key_of_their_framework(tmp_path: Path, key: str | None):
    weights = {'a.weight': torch.arange(3.0)}
    torch.save(weights if key is None else {key: weights, 'meta': {'epoch': 3}, 'optimizer': {}}, tmp_path / 'a.pth')
    read, meta = read_weights(tmp_path / 'a.pth')
    assert read.keys() == weights.keys()
    assert torch.equal(read['a.weight'], weights['a.weight'])
    assert meta == ({} if key is None else {'epoch': 3})


@pytest.mark.parametrize('content', [{}, {'model': {}}, {'model': {'a': 1}}, {'epoch': 3}, [torch.ones(1)], 3])
def test_a_file_without_tensors_by_name_is_refused(tmp_path: Path, content: Any):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth holds no tensors by name'):
        read_weights(tmp_path / 'a.pth')


def test_safetensors(tmp_path: Path):
    from safetensors.torch import save_file

    path = tmp_path / 'a.safetensors'
    save_file({'a.weight': torch.arange(3.0)}, path)
    read, meta = read_weights(path)
    assert torch.equal(read['a.weight'], torch.arange(3.0))
    assert meta == {}
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r'a\.safetensors is cut off, damaged or not a safetensors file'):
        read_weights(path)
    with pytest.raises(CheckpointError, match=r'b\.safetensors does not exist'):
        read_weights(tmp_path / 'b.safetensors')


def test_safetensors_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    with pytest.raises(CheckpointError, match='needs the package safetensors: pip install safetensors'):
        read_weights(tmp_path / 'a.safetensors')
