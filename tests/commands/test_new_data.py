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
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    *(
        f'{side}_dataloader.{option}'
        for side in ('train', 'val')
        for option in ('num_workers=0', 'persistent_workers=False')
    ),
    'default_hooks.logger.interval=1',
)


def test_from_a_folder_to_a_trained_detector(command: Commands, drawn: Drawn):
    printed = command(*NEW)
    assert 'next: python tools/train.py my_cells.py' in printed.splitlines()
    assert 'split       2 of 8 pictures for validation, by a hash of their names with seed 0' in printed
    for name in ('my_cells_samples.jpg', 'my_cells_report.txt', 'my_cells_annotations/val.json'):
        assert (drawn.folder / name).is_file()
        assert f'wrote {name}' in printed or name.endswith('.json')
    logged = command('train', 'my_cells.py', *SHORT)
    assert 'Epoch(train) [1][1/2]' in logged
    assert 'coco/bbox_mAP' in logged
    assert (drawn.folder / 'work_dirs/my_cells/epoch_1.pth').is_file()
    assert 'my_cells.py exists' in command.error(*NEW)


class StartedError(Exception):
    """Raised where a training would start."""


def test_a_training_and_a_test_start_with_the_checks(
    command: Commands, drawn: Drawn, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """What somebody mends wrongly in the config afterwards ends in a sentence, unless the switch is given."""

    def start(*_: object) -> None:
        raise StartedError

    command(*NEW)
    monkeypatch.setattr(launch, 'build_runner', start)
    monkeypatch.setattr(preflight, 'check_checkpoint', lambda path: None)
    with pytest.raises(StartedError):
        command('train', 'my_cells.py')
    assert 'warning' not in capfd.readouterr().err
    config = drawn.folder / 'my_cells.py'
    config.write_text(config.read_text().replace("'bar')", "'bars')"))
    sentence = "my_cells_annotations/train.json: there is no category 'bars' (but 'bar')"
    assert sentence in command.error('train', 'my_cells.py')
    assert sentence.replace('train.json', 'val.json') in command.error('test', 'my_cells.py', 'any.pth')
    for arguments in (('train', 'my_cells.py'), ('test', 'my_cells.py', 'any.pth')):
        with pytest.raises(StartedError):
            command(*arguments, '--no-data-checks')


def test_what_cannot_be_used_ends_in_a_sentence(command: Commands, drawn: Drawn):
    sentence = command.error(*NEW, '--classes', 'square', 'baar')
    assert "all.json: no object is called 'baar' (but 'bar')" in sentence
    (drawn.images / '3.png').unlink()
    assert '1 of 8 pictures are not in images (3.png of id 4)' in command.error(*NEW)
    assert '1 of 8 pictures and 2 objects' in command(*NEW, '--leave-out-faulty')
