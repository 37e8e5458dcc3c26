"""The tools from the outside: what they make of good input, and what they say of bad input."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import cv2
import mmdet.registry
import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet_dab import cli
from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.registry import MODELS, add_signposts
from tests.helpers.commands import load_tool, run_tool
from tests.helpers.tiny_task import CLASSES, Task

# --- Good input: train, resume, test, infer, and all of it in two processes


def test_train_finds_its_data_by_the_data_root_alone_and_leaves_checkpoints_and_pictures(trained: Path):
    assert (trained / 'epoch_1.pth').is_file()
    assert (trained / 'best_coco_bbox_mAP_epoch_1.pth').is_file()
    pictures = list(trained.glob('*/vis_data/vis_image/val_img_*.png'))
    # Three iterations and six validation pictures: iterations 4, 6 and 8 at an interval of 2.
    assert len(pictures) == 3
    drawn = cv2.imread(str(pictures[0]))
    assert drawn.shape == (64, 128, 3), 'truth left, prediction right'
    truth, prediction = drawn[:, :64].astype(int), drawn[:, 64:].astype(int)
    assert np.abs(truth - prediction).max() > 50, 'no box was drawn'


def test_resume_goes_on_after_the_last_epoch(task: Task, trained: Path, tmp_path: Path):
    (tmp_path / 'epoch_1.pth').write_bytes((trained / 'epoch_1.pth').read_bytes())
    # As in a work directory that was moved: the note names a path that is gone.
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_1.pth')
    arguments = (task.config, '--work-dir', tmp_path, '--resume', *task.options, 'train_cfg.max_epochs=2')
    result = run_tool('train.py', *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'resumed epoch: 1, iter: 3' in result.stdout + result.stderr
    before, after = read_checkpoint(tmp_path / 'epoch_1.pth'), read_checkpoint(tmp_path / 'epoch_2.pth')
    assert (after['meta']['epoch'], after['meta']['iter']) == (2, 6)
    steps = {state['step'].item() for state in after['optimizer']['state'].values()}
    assert max(steps) == 6, 'the optimizer did not go on'
    losses = [read['message_hub']['log_scalars']['train/loss'].data[0] for read in (before, after)]
    assert losses[1][:3] == pytest.approx(losses[0]), 'the history of losses was not kept'
    assert len(losses[1]) == 6


def test_averaged_weights_resume_and_are_tested_optimised(task: Task, tmp_path: Path):
    options = [*task.options, 'default_hooks.ema.type=EMAHook', 'default_hooks.ema.momentum=0.5']
    for arguments in ((), ('--resume', 'train_cfg.max_epochs=2')):
        resume, more = arguments[:1], arguments[1:]
        result = run_tool('train.py', task.config, '--work-dir', tmp_path, *resume, *options, *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert read_checkpoint(tmp_path / 'epoch_2.pth')['ema_state_dict']['steps'] == 6, 'the average did not go on'
    # Folded weights cannot be swapped for their average: the hook is left out, the checkpoint's weights are it.
    arguments = (task.config, tmp_path / 'epoch_2.pth', '--optimize', '--work-dir', 'tested')
    result = run_tool('test.py', *arguments, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_test_scores_writes_predictions_and_draws(task: Task, trained: Path, tmp_path: Path):
    outputs = ('--out', 'predictions.pkl', '--show-dir', 'shown', '--work-dir', 'tested')
    result = run_tool('test.py', task.config, trained / 'epoch_1.pth', *outputs, *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'coco/bbox_mAP' in result.stdout + result.stderr
    assert (tmp_path / 'predictions.pkl').stat().st_size > 0
    assert sorted(file.name for file in (tmp_path / 'shown').iterdir()) == [f'{number}.png' for number in range(6)]

    outputs = ('--out', 'optimised.pkl', '--optimize', '--work-dir', 'tested')
    result = run_tool('test.py', task.config, trained / 'epoch_1.pth', *outputs, *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    plain, optimised = (mmengine.load(tmp_path / f'{name}.pkl') for name in ('predictions', 'optimised'))
    for one, other in zip(plain, optimised, strict=True):
        scores = [found['pred_instances']['scores'] for found in (one, other)]
        assert not torch.equal(*scores), 'batch norm was not folded'
        torch.testing.assert_close(*scores, rtol=0, atol=1e-5)


def test_infer_draws_and_lists_the_boxes_of_every_picture(task: Task, trained: Path, tmp_path: Path):
    images = task.data_root / 'images'
    result = run_tool(
        *('infer.py', images, task.config, trained / 'epoch_1.pth', '--out-dir', 'out', '--score-thr', 0),
        *('--optimize', 'bfloat16'),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert 'COCO classes' not in result.stderr, 'the names do not come from the checkpoint'
    for number in range(6):
        drawn, plain = (cv2.imread(str(folder / f'{number}.png')) for folder in (tmp_path / 'out/vis', images))
        assert drawn.shape == plain.shape
        assert (drawn != plain).any()
        boxes = json.loads((tmp_path / 'out/preds' / f'{number}.json').read_text())
        assert len(boxes['bboxes']) == 10


def test_tensorboard_by_a_line_of_the_config(task: Task, tmp_path: Path):
    """And the Runner's JSON beside it."""
    config = tmp_path / 'with_tensorboard.py'
    line = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])"
    config.write_text(f"_base_ = '{task.config}'\n{line}\n")
    options = [*task.options, 'default_hooks.logger.interval=1']
    result = run_tool('train.py', config, '--work-dir', tmp_path / 'logged', *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (folder,) = (tmp_path / 'logged').glob('*/vis_data')
    assert list(folder.glob('events.out.tfevents.*'))
    logged = [json.loads(row) for row in (folder / 'scalars.json').read_text().splitlines()]
    assert {'loss', 'd0.loss_cls'} <= set(logged[0])
    assert 'eta: ' in result.stdout + result.stderr


def test_two_processes_train_and_test_on_the_cpu(task: Task, tmp_path: Path):
    result = run_tool('dist_train.sh', task.config, 2, '--work-dir', 'two', *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'Distributed training: True' in result.stdout + result.stderr
    # Six pictures, two for each of two processes: two iterations.
    assert read_checkpoint(tmp_path / 'two/epoch_1.pth')['meta']['iter'] == 2
    result = run_tool(
        'dist_test.sh', task.config, 'two/epoch_1.pth', 2, '--out', 'all.pkl', *task.options, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert 'Epoch(test) [3/3]' in result.stdout + result.stderr, 'each process should see three of six pictures'
    assert 'coco/bbox_mAP' in result.stdout + result.stderr


# --- mmdet's own functions in this stack


def test_init_detector_and_inference_detector_know_the_class_names(task: Task, trained: Path):
    from mmdet.apis import inference_detector, init_detector

    detector = init_detector(str(task.config), str(trained / 'epoch_1.pth'), device='cpu')
    assert tuple(detector.dataset_meta['classes']) == CLASSES
    prediction = inference_detector(detector, str(task.data_root / 'images/0.png')).pred_instances
    assert prediction.bboxes.shape == (10, 4)
    assert set(prediction.labels.tolist()) <= {0, 1}


# --- Bad input: one sentence


class Complaints:
    """Runs a tool in this process and returns the sentence it ends with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, name: str, *arguments: object) -> str:
        self.monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.run(load_tool(name).main)
        assert end.value.code == 2
        error = self.capsys.readouterr().err
        assert 'Traceback' not in error
        line = error.splitlines()[-1]
        assert line.startswith('error: ')
        return line


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Complaints:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.delenv('MMDET_DAB_TRACEBACK', raising=False)
    for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.setenv(variable, '0')  # so that what the tool sets is undone
    return Complaints(monkeypatch, capsys)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / 'good.pth'
    torch.save({'state_dict': {}}, path)
    return path


def test_missing_config(complaint: Complaints):
    assert 'config nowhere.py does not exist' in complaint('train', 'nowhere.py')


@pytest.mark.parametrize(
    ('text', 'reason'), [('model = dict(', 'SyntaxError'), ('_base_ = "gone.py"', 'gone.py'), ('a = b', "'b'")]
)
def test_config_that_cannot_be_read(complaint: Complaints, tmp_path: Path, text: str, reason: str):
    (tmp_path / 'broken.py').write_text(text)
    line = complaint('train', 'broken.py')
    assert 'config broken.py cannot be read' in line
    assert reason in line


def test_missing_annotations_name_file_key_and_mend(complaint: Complaints, task: Task):
    line = complaint('train', task.config)
    assert 'data/tiny/annotations/all.json does not exist (train_dataloader.dataset.ann_file)' in line
    assert '--cfg-options data_root=DIR' in line
    assert 'link your data to data/tiny/' in line


def test_missing_images(complaint: Complaints, task: Task, tmp_path: Path, checkpoint: Path):
    (tmp_path / 'data/annotations').mkdir(parents=True)
    (tmp_path / 'data/annotations/all.json').write_text('{}')
    line = complaint('test', task.config, checkpoint, '--cfg-options', f'data_root={tmp_path}/data')
    assert f'{tmp_path}/data/images does not exist (test_dataloader.dataset.data_prefix.img)' in line


def test_data_root_that_the_config_does_not_have(complaint: Complaints, tmp_path: Path):
    (tmp_path / 'bare.py').write_text('model = dict()')
    assert 'bare.py has no top-level data_root' in complaint('train', 'bare.py', '--cfg-options', 'data_root=x')


def test_override_that_does_not_fit(complaint: Complaints, task: Task):
    line = complaint('train', task.config, '--cfg-options', 'log_level.a.b=1')
    assert '--cfg-options does not fit' in line


@pytest.mark.parametrize('tool', ['test', 'infer', 'resume', 'load_from', 'pretrained'])
def test_checkpoint_that_does_not_exist(complaint: Complaints, task: Task, tool: str):
    line = complaint(*checkpoint_arguments(tool, task, Path('gone.pth')))
    assert 'checkpoint gone.pth does not exist' in line


@pytest.mark.parametrize('tool', ['test', 'infer', 'resume', 'load_from', 'pretrained'])
def test_checkpoint_that_carries_code_is_refused_by_name_and_not_run(
    complaint: Complaints, task: Task, tmp_path: Path, tool: str
):
    class Code:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/was_run',)

    torch.save({'state_dict': Code()}, tmp_path / 'code.pth')
    line = complaint(*checkpoint_arguments(tool, task, tmp_path / 'code.pth'))
    assert str(tmp_path / 'code.pth') in line
    assert f'{os.system.__module__}.system' in line
    assert not (tmp_path / 'was_run').exists()


def pretrained(checkpoint: object) -> list[str]:
    return ['model.neck.init_cfg.type=Pretrained', f'model.neck.init_cfg.checkpoint={checkpoint}']


def test_pretrained_weights_of_torchvision_without_torchvision(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    cfg = Config(dict(model=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))))
    with pytest.raises(cli.UsageError, match=r"model\.init_cfg\.checkpoint='torchvision://resnet18' needs torchvision"):
        cli.check_pretrained(cfg)


def test_pretrained_weights_that_cannot_be_downloaded(complaint: Complaints, task: Task):
    nobody_listens = 'http://127.0.0.1:1/resnet18.pth'
    line = complaint('train', task.config, *task.options, *pretrained(nobody_listens))
    assert 'pretrained weights cannot be downloaded (' in line
    assert '--cfg-options model.backbone.init_cfg=None' in line


def checkpoint_arguments(tool: str, task: Task, checkpoint: Path) -> list[object]:
    return {
        'test': ['test', task.config, checkpoint, *task.options],
        'infer': ['infer', task.data_root / 'images', task.config, checkpoint],
        'resume': ['train', task.config, '--resume', checkpoint, *task.options],
        'load_from': ['train', task.config, *task.options, f'load_from={checkpoint}'],
        'pretrained': ['train', task.config, *task.options, *pretrained(checkpoint)],
    }[tool]


def test_type_of_ours_without_its_prefix(complaint: Complaints, task: Task, checkpoint: Path):
    options = (*task.options, 'model.type=ComposedDETR')
    line = complaint('test', task.config, checkpoint, *options)
    assert "model.type='ComposedDETR' is a part of mmdet_dab, write 'mmdet_dab.ComposedDETR'" in line


def test_config_that_cannot_be_built_says_why(complaint: Complaints, task: Task):
    line = complaint('train', task.config, *task.options, 'model.neck.type=NoSuchNeck')
    assert str(task.config) in line
    assert 'NoSuchNeck is not in the' in line


def test_a_refusal_without_words_shows_its_line(task: Task):
    """As mmengine's ``assert hook is not None`` for a hook that is no default one."""
    with pytest.raises(AssertionError) as caught:
        raise AssertionError  # pytest gives words to an assert
    sentence = str(cli.cannot_be_built(Config.fromfile(task.config), caught.value))
    assert f'config {task.config} cannot be built: AssertionError at `raise AssertionError' in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason='refused only where there is no GPU')
@pytest.mark.parametrize(('flag', 'reason'), [('--amp', '--amp needs a GPU'), ('--launcher=slurm', 'dist_train.sh')])
def test_what_needs_a_gpu(complaint: Complaints, task: Task, flag: str, reason: str):
    assert reason in complaint('train', task.config, flag, *task.options)


def test_auto_scale_lr_without_its_base(complaint: Complaints, task: Task):
    line = complaint('train', task.config, '--auto-scale-lr', *task.options, 'auto_scale_lr=None')
    assert 'auto_scale_lr.base_batch_size' in line


def test_out_must_be_a_pickle(complaint: Complaints, task: Task):
    assert 'name a .pkl file' in complaint('test', task.config, 'any.pth', '--out', 'predictions.json')


def test_infer_without_pictures(complaint: Complaints, task: Task, tmp_path: Path, checkpoint: Path):
    (tmp_path / 'empty').mkdir()
    assert 'holds no picture' in complaint('infer', 'empty', task.config, checkpoint)
    assert 'gone does not exist' in complaint('infer', 'gone', task.config, checkpoint)


def test_traceback_on_request(complaint: Complaints, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('MMDET_DAB_TRACEBACK', '1')
    monkeypatch.setattr(sys, 'argv', ['train.py', 'nowhere.py'])
    with pytest.raises(cli.UsageError, match=r'nowhere\.py'):
        cli.run(load_tool('train').main)


def test_a_user_sees_the_sentence_and_no_traceback(tmp_path: Path):
    result = run_tool('test.py', 'nowhere.py', 'gone.pth', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.endswith('error: config nowhere.py does not exist\n')
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [('dist_train.sh', ['c.py']), ('dist_test.sh', ['c.py', 'a.pth']), ('dist_train.sh', ['c.py', 0])],
)
def test_scripts_say_how_they_are_called(tmp_path: Path, script: str, arguments: list[object]):
    result = run_tool(script, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(('usage: ', 'error: '))


# --- Parts


def test_tools_forbid_unrestricted_unpickling(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    cli.run(lambda: None)
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ


@pytest.mark.parametrize('new', ['/new/root', '/new/root/'])
def test_data_root_moves_data_sets_and_evaluators_and_nothing_else(tmp_path: Path, new: str):
    config = tmp_path / 'config.py'
    config.write_text(
        "data_root = 'data/coco/'\n"
        "val_dataloader = dict(dataset=dict(datasets=[dict(data_root=data_root, ann_file='val.json')]))\n"
        "val_evaluator = [dict(ann_file=data_root + 'val.json')]\n"
        "other = ('data/coco2/x', 'my/data/coco/x', 'data/coco')\n"
    )
    cfg = cli.load_config(str(config), {'data_root': new, 'val_evaluator.0.metric': 'bbox'})
    assert cfg.data_root == new
    assert cfg.val_dataloader.dataset.datasets[0].data_root == '/new/root/'
    assert cfg.val_evaluator[0] == dict(ann_file='/new/root/val.json', metric='bbox')
    assert cfg.other == ('data/coco2/x', 'my/data/coco/x', '/new/root')


def test_an_override_of_one_data_set_wins_over_the_data_root(task: Task):
    options = {'data_root': '/everywhere', 'test_dataloader.dataset.data_root': '/here'}
    cfg = cli.load_config(str(task.config), options)
    assert cfg.train_dataloader.dataset.data_root == '/everywhere/'
    assert cfg.test_dataloader.dataset.data_root == '/here'


def test_a_signposted_name_is_found_in_any_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(MODELS.module_dict, 'NewPart', type('NewPart', (), {}))
    monkeypatch.setattr(mmdet.registry.MODELS, '_module_dict', dict(mmdet.registry.MODELS.module_dict))
    add_signposts()
    config = tmp_path / 'config.py'
    config.write_text("later = [dict(a=dict(b=({'type': 'NewPart'},)))]")
    with pytest.raises(cli.UsageError, match=r"later\.0\.a\.b\.0\.type='NewPart' .* write 'mmdet_dab\.NewPart'"):
        cli.load_config(str(config), {})


def test_work_dir_comes_from_the_command_line_then_the_config_then_its_name(task: Task):
    cfg = Config.fromfile(task.config)
    cli.set_work_dir(cfg, None)
    assert cfg.work_dir == 'work_dirs/tiny'
    cfg.work_dir = 'of/config'
    cli.set_work_dir(cfg, None)
    assert cfg.work_dir == 'of/config'
    cli.set_work_dir(cfg, 'of/command')
    assert cfg.work_dir == 'of/command'


def test_nothing_to_resume_from_keeps_the_weights_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cfg = Config(dict(load_from='pretrained.pth', resume=False, work_dir=str(tmp_path)))
    load_tool('train').resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'pretrained.pth')
    assert f'nothing to resume from in {tmp_path}' in capsys.readouterr().out
