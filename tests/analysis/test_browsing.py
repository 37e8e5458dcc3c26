"""What is drawn is what the model gets: pixels, boxes, padding, and images without objects."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmdet_dab.analysis.browsing import FedImage, draw_image, draw_sheet, fed_images
from mmdet_dab.config import load_config
from mmdet_dab.errors import DataError
from tests.helpers.commands import Commands
from tests.helpers.tiny_task import CLASSES, Task, make_task


@pytest.fixture(scope='module')
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The tiny task; its first image has no objects."""
    task = make_task(tmp_path_factory.mktemp('task'))
    file = task.data_root / 'annotations' / 'all.json'
    content = json.loads(file.read_text())
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] != 0]
    file.write_text(json.dumps(content))
    return task


def config(task: Task, **options: object) -> Config:
    return load_config(str(task.config), {'data_root': str(task.data_root), **options})


def test_pixels_and_boxes_are_those_of_the_files(task: Task):
    """The pipeline of the task changes nothing; normalised and back, a pixel may differ by one."""
    fed = list(fed_images(config(task), 'train', 100))
    assert sorted(image.name for image in fed) == [f'{number}.png' for number in range(6)], 'one epoch, each once'
    for image in fed:
        file = cv2.imread(str(task.data_root / 'images' / image.name))[..., ::-1]
        assert np.abs(image.canvas.astype(int) - file).max() <= 1
        label = int(image.stem) % 2
        expected = [] if image.name == '0.png' else [[10, 20, 10 + (20, 40)[label], 20 + (20, 8)[label]]]
        np.testing.assert_allclose(image.boxes, np.array(expected).reshape(-1, 4))
        assert [image.classes[index] for index in image.labels] == [CLASSES[label]] * len(expected)


def test_order_and_augmentation_follow_the_seed(task: Task):
    names = [[image.name for image in fed_images(config(task), 'train', 6, seed)] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_padding_is_told_from_the_image(task: Task):
    (image,) = fed_images(config(task, **{'model.data_preprocessor.pad_size_divisor': 96}), 'train', 1)
    assert image.canvas.shape == (96, 96, 3)
    assert image.size == (64, 64)


def test_boxes_that_are_loaded_after_resizing_are_brought_to_the_image(task: Task):
    cfg = config(task)
    load, annotations, resize, pack = cfg.val_dataloader.dataset.pipeline
    resize.scale = (128, 128)
    cfg.val_dataloader.dataset.pipeline = [load, resize, annotations, pack]
    images = list(fed_images(cfg, 'val', 2))
    assert images[1].size == (128, 128)
    np.testing.assert_allclose(images[1].boxes, [[20, 40, 100, 56]])


def test_a_dataset_without_images_is_an_error(task: Task):
    file = task.data_root / 'annotations' / 'none.json'
    file.write_text(json.dumps(dict(images=[], annotations=[], categories=[])))
    cfg = config(task)
    cfg.val_dataloader.dataset.ann_file = 'annotations/none.json'
    with pytest.raises(DataError, match='val_dataloader'):
        list(fed_images(cfg, 'val', 1))


def test_padding_and_boxes_are_drawn(tmp_path: Path):
    """Hatched where the padding is, coloured along the box, and the image as it is elsewhere."""
    canvas = np.full((64, 64, 3), 200, np.uint8)
    box, label = np.array([[8.0, 8, 40, 40]]), np.array([0])
    image = FedImage('a $b$.png', canvas, (64, 48), box, label, np.zeros((0, 4)), ('cup $1$',))
    draw_image(tmp_path / 'one.png', image)
    drawn = np.asarray(Image.open(tmp_path / 'one.png').convert('RGB')).astype(int)
    height, width = drawn.shape[:2]
    assert np.abs(drawn[height // 2, width // 4] - 200).max() <= 2
    assert np.abs(drawn[height // 2 :, int(0.8 * width) : int(0.95 * width)] - 200).max(-1).mean() > 40
    assert (np.abs(drawn - (230, 60, 60)).max(-1) < 20).any(), 'the colour of the class'
    draw_sheet(tmp_path / 'sheet.png', [image] * 5)
    assert Image.open(tmp_path / 'sheet.png').width > 900


def test_the_command_writes_a_sheet_and_single_images(
    task: Task, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    command = Commands(monkeypatch, capfd)
    command('browse', task.config, '--n', 3, '--out', 'seen', *task.options)
    assert len(list(Path('seen').glob('00?_?.png'))) == 3
    assert Path('seen/sheet.png').exists()
    assert '--n 0' in command.error('browse', task.config, '--n', 0)
    assert 'nowhere' in command.error('browse', task.config, '--cfg-options', 'data_root=nowhere/')
    bare = tmp_path / 'bare.py'
    bare.write_text("model = dict(type='X')\n")
    assert 'train_dataloader' in command.error('browse', bare)
