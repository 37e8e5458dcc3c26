"""``make demo``, cut short: images, curve and figures; resumed after an interruption; said to be done."""

from __future__ import annotations

import re

import cv2
import pytest

from tests.helpers.commands import run_command


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('demo')


def demo(work_dir, iterations):
    options = [
        f'train_cfg.max_iters={iterations}',
        'train_cfg.val_interval=2',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.num_images=20',
        'val_dataloader.dataset.num_images=6',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
    ]
    done = run_command('demo', '--work-dir', work_dir, '--images=4', '--cfg-options', *options, cwd=work_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def finished(work_dir):
    """What a first run printed."""
    return demo(work_dir, 2)


def test_demo(work_dir, finished):
    assert re.search(r'^bbox_mAP: \d\.\d{3}$', finished, re.M)
    for name in ('detections.png', 'curve.png', 'image.png'):
        assert cv2.imread(str(work_dir / name)).std() > 0, name
    assert (work_dir / 'iter_2.pth').exists()


@pytest.mark.usefixtures('finished')
def test_run_again_says_that_it_is_done(work_dir):
    output = demo(work_dir, 2)
    assert 'the training is done' in output
    assert 'Iter(train)' not in output
    assert re.search(r'^bbox_mAP: \d\.\d{3}$', output, re.M)


@pytest.mark.usefixtures('finished')
def test_interrupted_demo_goes_on(work_dir):
    """A longer training finds the checkpoint of the shorter one, as a killed one would."""
    output = demo(work_dir, 4)
    assert 'resuming from' in output
    assert re.findall(r'Iter\(train\) \[(\d)/4\]', output) == ['3', '4']
