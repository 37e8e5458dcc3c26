"""tools/new_dataset.py from the outside, and the checks with which tools/train.py and tools/test.py start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmdet_dab import cli
from tests.helpers.drawn import Drawn, draw
from tests.helpers.commands import load_tool


class Tool:
    """Runs a tool in this process, as a user does in the folder of the data."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, name: str, *arguments: object) -> str:
        """What it prints."""
        self.monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        self.capfd.readouterr()
        cli.run(load_tool(name).main)
        read = self.capfd.readouterr()
        return read.out + read.err

    def complaint(self, name: str, *arguments: object) -> str:
        """The sentence that it ends with, with exit code 2."""
        with pytest.raises(SystemExit) as end:
            self(name, *arguments)
        assert end.value.code == 2
        line = self.capfd.readouterr().err.splitlines()[-1]
        assert line.startswith('error: ')
        return line


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    made = draw(tmp_path)
    made.coco()
    return made


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], drawn: Drawn) -> Tool:
    monkeypatch.chdir(drawn.folder)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.delenv('MMDET_DAB_TRACEBACK', raising=False)
    for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.setenv(variable, '0')  # so that what the tool sets is undone
    return Tool(monkeypatch, capfd)


NEW = ('new_dataset', '--images', 'images', '--annotations', 'all.json', '--out', 'my_cells.py')
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


def test_from_a_folder_to_a_trained_detector(tool: Tool, drawn: Drawn):
    printed = tool(*NEW)
    assert printed.splitlines()[-1] == 'next: python tools/train.py my_cells.py'
    assert 'split       2 of 8 pictures for validation, by a hash of their names with seed 0' in printed
    for name in ('my_cells_samples.jpg', 'my_cells_report.txt', 'my_cells_annotations/val.json'):
        assert (drawn.folder / name).is_file()
        assert f'wrote {name}' in printed or name.endswith('.json')
    logged = tool('train', 'my_cells.py', *SHORT)
    assert 'Epoch(train) [1][1/2]' in logged
    assert 'coco/bbox_mAP' in logged
    assert (drawn.folder / 'work_dirs/my_cells/epoch_1.pth').is_file()
    assert 'my_cells.py exists' in tool.complaint(*NEW)


class StartedError(Exception):
    """Raised where a training would start."""


def test_a_training_and_a_test_start_with_the_checks(
    tool: Tool, drawn: Drawn, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """What somebody mends wrongly in the config afterwards ends in a sentence, unless the switch is given."""

    def start(*_: object) -> None:
        raise StartedError

    tool(*NEW)
    monkeypatch.setattr(cli, 'build_runner', start)
    monkeypatch.setattr(cli, 'check_checkpoint', lambda path: None)
    with pytest.raises(StartedError):
        tool('train', 'my_cells.py')
    assert capfd.readouterr().err == ''
    config = drawn.folder / 'my_cells.py'
    config.write_text(config.read_text().replace("'bar')", "'bars')"))
    sentence = "my_cells_annotations/train.json: there is no category 'bars' (but 'bar')"
    assert sentence in tool.complaint('train', 'my_cells.py')
    assert sentence.replace('train.json', 'val.json') in tool.complaint('test', 'my_cells.py', 'any.pth')
    for arguments in (('train', 'my_cells.py'), ('test', 'my_cells.py', 'any.pth')):
        with pytest.raises(StartedError):
            tool(*arguments, '--no-data-checks')


def test_what_cannot_be_used_ends_in_a_sentence(tool: Tool, drawn: Drawn):
    sentence = tool.complaint(*NEW, '--classes', 'square', 'baar')
    assert "all.json: no object is called 'baar' (but 'bar')" in sentence
    (drawn.images / '3.png').unlink()
    assert '1 of 8 pictures are not in images (3.png of id 4)' in tool.complaint(*NEW)
    assert '1 of 8 pictures and 2 objects' in tool(*NEW, '--leave-out-faulty')
