"""``mmdet-dab new-data`` from the outside, and the checks with which train and test start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmdet_dab import launch, preflight
from tests.helpers.commands import Commands
from tests.helpers.drawn import Drawn, draw


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    made = draw(tmp_path)
    made.coco()
    return made


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], drawn: Drawn) -> Commands:
    monkeypatch.chdir(drawn.folder)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.delenv('MMDET_DAB_TRACEBACK', raising=False)
    for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.setenv(variable, '0')  # so that what the tool sets is undone
    return Commands(monkeypatch, capfd)


NEW = ('new-data', '--images', 'images', '--annotations', 'all.json', '--out', 'my_cells.py')
SHORT = (
    '--cfg-options',
    'max_epochs=1',
    'train_cfg.val_interval=1',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'default_hooks.logger.interval=1',
)


def test_from_a_folder_to_a_trained_detector(command: Commands, drawn: Drawn):
    printed = command(*NEW)
    assert 'next: mmdet-dab train my_cells.py' in printed.splitlines()
    assert 'split       2 of 8 images for validation' in printed
    for name in ('my_cells_samples.jpg', 'my_cells_report.txt', 'my_cells_annotations/val.json'):
        assert (drawn.folder / name).is_file()
        assert f'wrote {name}' in printed or name.endswith('.json')
    logged = command('train', 'my_cells.py', *SHORT)
    assert 'Epoch(train) [1][1/2]' in logged
    assert 'coco/bbox_mAP' in logged
    assert (drawn.folder / 'work_dirs/my_cells/epoch_1.pth').is_file()
    assert 'my_cells.py' in command.error(*NEW)


class StartedError(BaseException):
    """Raised where a training would start; no error, which commands would turn into a message."""


def test_a_training_and_a_test_start_with_the_checks(
    command: Commands, drawn: Drawn, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """What somebody mends wrongly in the config afterwards ends in a sentence, unless the switch is given."""

    def start(*_: object) -> None:
        raise StartedError

    command(*NEW)
    (drawn.folder / 'any.pth').write_bytes(b'PK')
    monkeypatch.setattr(launch, 'build_runner', start)
    monkeypatch.setattr(preflight, 'check_checkpoint', lambda path: None)
    with pytest.raises(StartedError):
        command('train', 'my_cells.py')
    assert 'warning' not in capfd.readouterr().err
    config = drawn.folder / 'my_cells.py'
    config.write_text(config.read_text().replace("'bar')", "'bars')"))
    for split, arguments in (('train', ('train', 'my_cells.py')), ('val', ('test', 'my_cells.py', 'any.pth'))):
        message = command.error(*arguments)
        assert f'my_cells_annotations/{split}.json' in message
        assert "'bars' (did you mean 'bar'?)" in message
    for arguments in (('train', 'my_cells.py'), ('test', 'my_cells.py', 'any.pth')):
        with pytest.raises(StartedError):
            command(*arguments, '--no-data-checks')


def test_what_cannot_be_used_ends_in_a_sentence(command: Commands, drawn: Drawn):
    message = command.error(*NEW, '--classes', 'square', 'baar')
    assert all(word in message for word in ('all.json', "'baar' (did you mean 'bar'?)"))
    (drawn.images / '3.png').unlink()
    message = command.error(*NEW)
    assert all(word in message for word in ('1 of 8 images', '3.png of id 4'))
    assert '1 image and 2 objects' in command(*NEW, '--leave-out-faulty')


def test_what_boxes_were_marked_on_can_be_said(command: Commands, drawn: Drawn):
    assert 'wrote my_cells.py' in command(*NEW, '--boxes-on', 'stored')
