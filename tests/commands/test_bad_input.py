"""What the commands say of bad input: one message that names file, key or value and the fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_dab import cli, preflight
from mmdet_dab.config import cannot_be_built
from mmdet_dab.errors import ConfigError
from tests.helpers.commands import Commands, run_tool
from tests.helpers.tiny_task import Task


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / 'good.pth'
    torch.save({'state_dict': {}}, path)
    return path


def test_missing_config(command: Commands):
    assert 'config nowhere.py' in command.error('train', 'nowhere.py')


@pytest.mark.parametrize(
    ('text', 'reason'), [('model = dict(', 'SyntaxError'), ('_base_ = "gone.py"', 'gone.py'), ('a = b', "'b'")]
)
def test_config_that_cannot_be_read(command: Commands, tmp_path: Path, text: str, reason: str):
    (tmp_path / 'broken.py').write_text(text)
    line = command.error('train', 'broken.py')
    assert 'config broken.py cannot be read' in line
    assert reason in line


def test_missing_annotations_name_file_key_and_fix(command: Commands, task: Task):
    line = command.error('train', task.config)
    assert 'data/tiny/annotations/all.json does not exist (train_dataloader.dataset.ann_file)' in line
    assert '--cfg-options data_root=DIR' in line
    assert 'link your data to data/tiny/' in line


def test_missing_images(command: Commands, task: Task, tmp_path: Path, checkpoint: Path):
    (tmp_path / 'data/annotations').mkdir(parents=True)
    (tmp_path / 'data/annotations/all.json').write_text('{}')
    line = command.error('test', task.config, checkpoint, '--cfg-options', f'data_root={tmp_path}/data')
    assert f'{tmp_path}/data/images does not exist (test_dataloader.dataset.data_prefix.img)' in line


def test_data_root_that_the_config_does_not_have(command: Commands, tmp_path: Path):
    (tmp_path / 'bare.py').write_text('model = dict()')
    assert 'bare.py has no top-level data_root' in command.error('train', 'bare.py', '--cfg-options', 'data_root=x')


def test_override_that_does_not_fit(command: Commands, task: Task):
    line = command.error('train', task.config, '--cfg-options', 'log_level.a.b=1')
    assert '--cfg-options does not fit' in line


@pytest.mark.parametrize('tool', ['test', 'infer', 'resume', 'load_from', 'pretrained'])
def test_checkpoint_that_does_not_exist(command: Commands, task: Task, tool: str):
    line = command.error(*checkpoint_arguments(tool, task, Path('gone.pth')))
    assert 'checkpoint gone.pth does not exist' in line


@pytest.mark.parametrize('tool', ['test', 'infer', 'resume', 'load_from', 'pretrained'])
def test_checkpoint_that_carries_code_is_refused_by_name_and_not_run(
    command: Commands, task: Task, tmp_path: Path, tool: str
):
    class Code:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/was_run',)

    torch.save({'state_dict': Code()}, tmp_path / 'code.pth')
    line = command.error(*checkpoint_arguments(tool, task, tmp_path / 'code.pth'))
    assert str(tmp_path / 'code.pth') in line
    assert f'{os.system.__module__}.system' in line
    assert not (tmp_path / 'was_run').exists()


def pretrained(checkpoint: object) -> list[str]:
    return ['model.neck.init_cfg.type=Pretrained', f'model.neck.init_cfg.checkpoint={checkpoint}']


def test_pretrained_weights_of_torchvision_without_torchvision(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight.importlib.util, 'find_spec', lambda name: None)
    cfg = Config(dict(model=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))))
    with pytest.raises(ConfigError, match=r"model\.init_cfg\.checkpoint='torchvision://resnet18' needs torchvision"):
        preflight.check_pretrained(cfg)


def test_pretrained_weights_that_cannot_be_downloaded(command: Commands, task: Task):
    nobody_listens = 'http://127.0.0.1:1/resnet18.pth'
    line = command.error('train', task.config, *task.options, *pretrained(nobody_listens))
    assert 'weights cannot be downloaded (' in line
    assert '--cfg-options model.backbone.init_cfg=None' in line


def checkpoint_arguments(tool: str, task: Task, checkpoint: Path) -> list[object]:
    return {
        'test': ['test', task.config, checkpoint, *task.options],
        'infer': ['infer', task.data_root / 'images', task.config, checkpoint],
        'resume': ['train', task.config, '--resume', checkpoint, *task.options],
        'load_from': ['train', task.config, *task.options, f'load_from={checkpoint}'],
        'pretrained': ['train', task.config, *task.options, *pretrained(checkpoint)],
    }[tool]


def test_config_that_cannot_be_built_says_why(command: Commands, task: Task):
    line = command.error('train', task.config, *task.options, 'model.neck.type=NoSuchNeck')
    assert str(task.config) in line
    assert 'NoSuchNeck is not in the' in line


def test_a_refusal_without_words_shows_its_line(task: Task):
    """As mmengine's ``assert hook is not None`` for a hook that is no default one."""
    with pytest.raises(AssertionError) as caught:
        raise AssertionError  # pytest gives words to an assert
    sentence = str(cannot_be_built(Config.fromfile(task.config), caught.value))
    assert f'config {task.config} cannot be built: AssertionError at `raise AssertionError' in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason='refused only where there is no GPU')
@pytest.mark.parametrize(('flag', 'reason'), [('--launcher=slurm', 'slurm_train.sh')])
def test_what_needs_a_gpu(command: Commands, task: Task, flag: str, reason: str):
    assert reason in command.error('train', task.config, flag, *task.options)


def test_auto_scale_lr_without_its_base(command: Commands, task: Task):
    line = command.error('train', task.config, '--auto-scale-lr', *task.options, 'auto_scale_lr=None')
    assert 'auto_scale_lr.base_batch_size' in line


def test_out_must_be_a_pickle_or_coco_results(command: Commands, task: Task):
    line = command.error('test', task.config, 'any.pth', '--out', 'predictions.txt')
    assert '--out predictions.txt' in line
    assert '.pkl' in line
    assert '.json' in line


def test_infer_without_images(command: Commands, task: Task, tmp_path: Path, checkpoint: Path):
    (tmp_path / 'empty').mkdir()
    assert 'empty: the folder holds no image' in command.error('infer', 'empty', task.config, checkpoint)
    assert 'gone does not exist' in command.error('infer', 'gone', task.config, checkpoint)


def test_traceback_on_request(command: Commands, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('MMDET_DAB_TRACEBACK', '1')
    with pytest.raises(ConfigError, match=r'nowhere\.py'):
        cli.main(['train', 'nowhere.py'])


def test_a_user_sees_the_sentence_and_no_traceback(tmp_path: Path):
    result = run_tool('test.py', 'nowhere.py', 'gone.pth', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith('error: config nowhere.py')
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [('dist_train.sh', ['c.py']), ('dist_test.sh', ['c.py', 'a.pth']), ('dist_train.sh', ['c.py', 0])],
)
def test_scripts_say_how_they_are_called(tmp_path: Path, script: str, arguments: list[object]):
    result = run_tool(script, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(('usage: ', 'error: '))


def test_missing_data_is_said_once_before_processes_start(task: Task, tmp_path: Path):
    result = run_tool('dist_train.sh', task.config, 2, cwd=tmp_path)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert 'data/tiny/annotations/all.json' in errors[0]
    assert 'torch' not in result.stderr.replace('PyTorch', '')


def test_check_only_stops_before_work(command: Commands, task: Task, tmp_path: Path):
    command('train', task.config, '--check-only', *task.options)
    assert not (tmp_path / 'work_dirs').exists()


def test_one_of_mmdets_tools_by_name(command: Commands):
    assert 'analysis_tools/confusion_matrix.py' in command('mmdet-tool').splitlines()
    assert 'analysis_tools/confusion_matrix.py' in command.error('mmdet-tool', 'confusion_matrix.py')


def test_a_training_run_that_is_shorter_than_its_warm_up(command: Commands):
    line = command.error('demo', '--cfg-options', 'max_iters=8')
    assert 'param_scheduler.1' in line
    assert 'begins at 50 and ends at 8' in line
