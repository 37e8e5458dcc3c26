"""Train, resume, test and infer from the outside, also in two processes."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
import torch

from mmdet_dab import cli
from mmdet_dab.checkpoints.loading import read_checkpoint
from tests.helpers.commands import run_command, run_tool
from tests.helpers.processes import run_in_two_processes
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
    result = run_command('train', *arguments, cwd=tmp_path)
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
        result = run_command('train', task.config, '--work-dir', tmp_path, *resume, *options, *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert read_checkpoint(tmp_path / 'epoch_2.pth')['ema_state_dict']['steps'] == 6, 'the average did not go on'
    # Folded weights cannot be swapped for their average: the hook is left out, the checkpoint's weights are it.
    arguments = (task.config, tmp_path / 'epoch_2.pth', '--optimize', '--work-dir', 'tested')
    result = run_command('test', *arguments, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_test_scores_writes_predictions_and_draws(task: Task, trained: Path, tmp_path: Path):
    outputs = ('--out', 'predictions.pkl', '--show-dir', 'shown', '--work-dir', 'tested')
    result = run_command('test', task.config, trained / 'epoch_1.pth', *outputs, *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'coco/bbox_mAP' in result.stdout + result.stderr
    assert (tmp_path / 'predictions.pkl').stat().st_size > 0
    assert sorted(file.name for file in (tmp_path / 'shown').iterdir()) == [f'{number}.png' for number in range(6)]

    outputs = ('--out', 'optimised.pkl', '--optimize', '--work-dir', 'tested')
    result = run_command('test', task.config, trained / 'epoch_1.pth', *outputs, *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    plain, optimised = (mmengine.load(tmp_path / f'{name}.pkl') for name in ('predictions', 'optimised'))
    for one, other in zip(plain, optimised, strict=True):
        scores = [found['pred_instances']['scores'] for found in (one, other)]
        assert not torch.equal(*scores), 'batch norm was not folded'
        torch.testing.assert_close(*scores, rtol=0, atol=1e-5)


def test_infer_draws_and_lists_the_boxes_of_every_picture(task: Task, trained: Path, tmp_path: Path):
    images = task.data_root / 'images'
    result = run_command(
        *('infer', images, task.config, trained / 'epoch_1.pth', '--out-dir', 'out', '--score-thr', 0),
        *('--optimize', 'bfloat16'),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert 'COCO classes' not in result.stderr, 'the names do not come from the checkpoint'
    for number in range(6):
        drawn, plain = (cv2.imread(str(folder / f'{number}.png')) for folder in (tmp_path / 'out/vis', images))
        assert drawn.shape == (320, 320, 3), 'enlarged, so that labels can be read'
        assert np.abs(cv2.resize(drawn, (64, 64)).astype(int) - plain).max() > 20, 'no box was drawn'
        boxes = json.loads((tmp_path / 'out/preds' / f'{number}.json').read_text())
        assert len(boxes['bboxes']) == 10


def test_a_work_directory_serves_without_its_data(task: Task, trained: Path, tmp_path: Path):
    """The config that the Runner left there, and a checkpoint: no dataset, no base config, no other file."""
    (tmp_path / 'served').mkdir()
    text = (trained / task.config.name).read_text()
    assert str(task.data_root) in text
    (tmp_path / 'served/config.py').write_text(text.replace(str(task.data_root), '/gone'))
    shutil.copy(trained / 'epoch_1.pth', tmp_path / 'served/weights.pth')
    cv2.imwrite(str(tmp_path / 'shot.png'), np.full((48, 64, 3), 120, np.uint8))
    result = run_command('infer', 'shot.png', 'served/config.py', 'served/weights.pth', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / 'outputs/preds/shot.json').read_text())
    assert set(found['names']) <= set(CLASSES)
    assert len(found['bboxes']) == 10


def test_tensorboard_by_a_line_of_the_config(task: Task, tmp_path: Path):
    """And the Runner's JSON beside it."""
    config = tmp_path / 'with_tensorboard.py'
    line = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])"
    config.write_text(f"_base_ = '{task.config}'\n{line}\n")
    options = [*task.options, 'default_hooks.logger.interval=1']
    result = run_command('train', config, '--work-dir', tmp_path / 'logged', *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (folder,) = (tmp_path / 'logged').glob('*/vis_data')
    assert list(folder.glob('events.out.tfevents.*'))
    logged = [json.loads(row) for row in (folder / 'scalars.json').read_text().splitlines()]
    assert {'loss', 'd0.loss_cls'} <= set(logged[0])
    assert 'eta: ' in result.stdout + result.stderr


@pytest.mark.slow
def test_two_processes_train_and_test_on_the_cpu(task: Task, tmp_path: Path):
    result = run_tool('dist_train.sh', task.config, 2, '--work-dir', 'two', *task.options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    # Six pictures, two for each of two processes: two iterations.
    assert read_checkpoint(tmp_path / 'two/epoch_1.pth')['meta']['iter'] == 2
    arguments = [task.config, 'two/epoch_1.pth', '--out', 'all.pkl', *task.options]
    run_in_two_processes(two_test, [str(argument) for argument in arguments], tmp_path)
    output = (tmp_path / 'printed_0').read_text()
    assert 'Epoch(test) [3/3]' in output, 'each process should get three of six images'
    assert 'coco/bbox_mAP' in output


def two_test(rank: int, port: int, arguments: list[str], folder: Path) -> None:
    """One of two processes, as ``torchrun`` of ``dist_test.sh`` starts them."""
    os.chdir(folder)
    with (folder / f'printed_{rank}').open('w') as file, redirect_stdout(file), redirect_stderr(file):
        assert cli.main(['test', *arguments, '--launcher', 'pytorch', '--no-data-checks']) == 0


# --- mmdet's own functions in this stack


def test_init_detector_and_inference_detector_know_the_class_names(task: Task, trained: Path):
    from mmdet.apis import inference_detector, init_detector

    detector = init_detector(str(task.config), str(trained / 'epoch_1.pth'), device='cpu')
    assert tuple(detector.dataset_meta['classes']) == CLASSES
    prediction = inference_detector(detector, str(task.data_root / 'images/0.png')).pred_instances
    assert prediction.bboxes.shape == (10, 4)
    assert set(prediction.labels.tolist()) <= {0, 1}
