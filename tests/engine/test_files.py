"""Checkpoints are whole or not there, and a damaged one is recognised."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from mmengine.fileio import LocalBackend

from mmdet_dab.engine.files import damage, latest_checkpoint, note_last, write_whole
from mmdet_dab.errors import CheckpointError
from tests.helpers.interrupted import Bomb, Killed, interrupted_config, train


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints, the last of them noted."""
    for number in (1, 2, 3):
        path = tmp_path / f'epoch_{number}.pth'
        torch.save({'weight': torch.arange(1000.0) + number}, path)
        os.utime(path, (number, number))
    torch.save({}, tmp_path / 'best_ap_epoch_9.pth')
    note_last(str(tmp_path), str(tmp_path / 'epoch_3.pth'))
    return tmp_path


def change_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b'')


@pytest.mark.parametrize('harm', [change_a_bit, cut, empty])
def test_a_damaged_file_is_named_and_the_one_before_taken(folder, harm):
    harm(folder / 'epoch_3.pth')
    said = []
    assert latest_checkpoint(folder, said.append) == folder / 'epoch_2.pth'
    assert len(said) == 1
    assert 'epoch_3.pth' in said[0]
    assert damage(folder / 'epoch_3.pth')
    assert damage(folder / 'epoch_2.pth') is None


def test_the_newest_is_found_without_a_note_and_in_a_folder_that_moved(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp('moved') / 'work'
    folder.rename(moved)
    assert latest_checkpoint(moved) == moved / 'epoch_3.pth'
    (moved / 'last_checkpoint').unlink()
    assert latest_checkpoint(moved) == moved / 'epoch_3.pth'
    for path in moved.glob('epoch_*'):
        path.unlink()
    assert latest_checkpoint(moved) is None


def test_it_does_not_start_over_where_all_are_damaged(folder):
    for path in folder.glob('epoch_*.pth'):
        cut(path)
    with pytest.raises(CheckpointError, match=r'epoch_3\.pth.*epoch_2\.pth'):
        latest_checkpoint(folder)


@pytest.mark.parametrize('note', ['', '\0', '/nowhere/epoch_7.pth', '.', '../..', 'epoch_3.pth\nrm'])
def test_a_note_that_leads_nowhere_is_left(folder, note):
    (folder / 'last_checkpoint').write_text(note)
    assert latest_checkpoint(folder, lambda text: None) == folder / 'epoch_3.pth'


def test_a_writer_that_fails_leaves_what_was_there(folder):
    before = (folder / 'epoch_1.pth').read_bytes()

    def fail(part):
        part.write_bytes(b'half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    with pytest.raises(OSError, match='space'):
        write_whole(folder / 'epoch_1.pth', fail)
    assert (folder / 'epoch_1.pth').read_bytes() == before
    assert not list(folder.glob('*.part'))


@pytest.mark.usefixtures('quiet_runner')
def test_a_full_disk_ends_in_one_message_and_the_good_one_stays(tmp_path, monkeypatch):
    config = interrupted_config(tmp_path, default_hooks=dict(checkpoint=dict(max_keep_ckpts=1)))
    with pytest.raises(Killed):
        train(config, tmp_path / 'work', Bomb('before_train_iter', 5, 'LOWEST'))
    put = LocalBackend.put

    def full(self, content, path):
        put(self, content[:1000], path)
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(LocalBackend, 'put', full)
    with pytest.raises(CheckpointError, match=r'iter_6\.pth.*No space left'):
        train(config, tmp_path / 'work')
    assert [path.name for path in (tmp_path / 'work').glob('iter_*')] == ['iter_4.pth']
    assert damage(tmp_path / 'work' / 'iter_4.pth') is None
    assert latest_checkpoint(tmp_path / 'work') == tmp_path / 'work' / 'iter_4.pth'


@pytest.mark.usefixtures('quiet_runner')
def test_an_old_checkpoint_goes_when_the_new_one_is_there(tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def watched(source, target):
        if target.suffix == '.pth' and target.name.startswith('iter_'):
            seen.append(sorted(path.name for path in target.parent.glob('iter_*.pth')))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', watched)
    config = interrupted_config(tmp_path, default_hooks=dict(checkpoint=dict(max_keep_ckpts=1)))
    config.train_cfg.max_epochs = 2
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    train(config, tmp_path / 'work')
    assert seen == [[], ['iter_2.pth'], ['iter_4.pth']]
    assert [path.name for path in (tmp_path / 'work').glob('iter_*.pth')] == ['iter_6.pth']
