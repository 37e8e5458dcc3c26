"""``mmdet-dab infer``: what is written of images and videos, and what is said of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.config import Config

import mmdet_dab
from mmdet_dab.errors import DataError, UserError
from mmdet_dab.inferencer import FileInferencer
from mmdet_dab.preflight import check_device
from mmdet_dab.released import RELEASED, Released
from tests.helpers.commands import Commands
from tests.helpers.tiny import tiny_config
from tests.helpers.tiny_task import CLASSES, Task


@pytest.fixture
def shots(task: Task, tmp_path: Path) -> Path:
    """Three images, one of them in a sub-folder, and a video."""
    image = cv2.imread(str(task.data_root / 'images/0.png'))
    (tmp_path / 'shots/deep').mkdir(parents=True)
    for name in ('a.png', 'b.jpg', 'deep/a.png'):
        cv2.imwrite(str(tmp_path / 'shots' / name), image)
    writer = cv2.VideoWriter(str(tmp_path / 'shots/clip.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 64))
    for _ in range(3):
        writer.write(image)
    writer.release()
    return tmp_path / 'shots'


def test_images_and_videos_of_folders(command: Commands, task: Task, weights: Path, shots: Path, tmp_path: Path):
    printed = command(
        *('infer', 'shots', task.config, weights, '--out-dir', 'out', '--batch-size', 2),
        *('--format', 'coco', '--device', 'cpu'),
    )
    assert '3 images and 1 video → out/vis, out/preds, out/detections.coco.json' in printed
    assert 'arning' not in printed.replace('WARN', 'warn')
    drawn = {file.relative_to(tmp_path / 'out').as_posix() for file in (tmp_path / 'out/vis').rglob('*.*')}
    assert drawn == {f'vis/{name}' for name in ('a.png', 'b.jpg', 'deep/a.png', 'clip.avi.mp4')}
    preds = tmp_path / 'out/preds'
    assert {file.relative_to(preds).as_posix() for file in preds.rglob('*.json')} == {
        f'{name}.json' for name in ('a', 'b', 'deep/a', 'clip')
    }
    boxes = json.loads((preds / 'a.json').read_text())
    assert boxes['names'] == [CLASSES[label] for label in boxes['labels']]
    assert len(boxes['names']) == 10
    assert [row['frame'] for row in json.loads((preds / 'clip.json').read_text())] == [0, 1, 2]
    assert len(json.loads((tmp_path / 'out/detections.coco.json').read_text())) == 10 * (3 + 3)

    model = mmdet_dab.build(task.config, weights)
    expected = inference_detector(model, str(shots / 'a.png')).pred_instances
    order = expected.scores.argsort(descending=True, stable=True)
    torch.testing.assert_close(torch.tensor(boxes['scores']), expected.scores[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(boxes['bboxes']), expected.bboxes[order], rtol=0, atol=0.01)


def test_an_image_that_cannot_be_read(command: Commands, task: Task, weights: Path, shots: Path, tmp_path: Path):
    (shots / 'broken.png').write_bytes(b'none')
    line = command.error('infer', 'shots', task.config, weights, '--out-dir', 'out', code=1)
    assert 'broken.png' in line
    assert (tmp_path / 'out/vis/deep/a.png').is_file()


def test_images_that_are_cut_off_or_have_a_hole_are_named(
    command: Commands, task: Task, weights: Path, shots: Path, tmp_path: Path
):
    sound = (shots / 'b.jpg').read_bytes()
    middle = sound.index(b'\xff\xda') + 20
    (shots / 'cut.jpg').write_bytes(sound[: middle + 60])
    (shots / 'hole.jpg').write_bytes(sound[:middle] + bytes(100) + sound[middle + 100 :] + b'\xff\xd9')
    command.error('infer', 'shots', task.config, weights, '--out-dir', 'out', '--device', 'cpu', code=1)
    done = {file.name for file in (tmp_path / 'out/preds').glob('*.json')}
    assert done == {'a.json', 'b.json', 'clip.json'}


def test_an_image_of_one_row_is_named_and_grey_arrays_are_taken(
    command: Commands, task: Task, weights: Path, shots: Path, tmp_path: Path
):
    cv2.imwrite(str(shots / 'row.png'), np.zeros((1, 3000, 3), np.uint8))
    (shots / 'clip.avi').unlink()
    line = command.error('infer', 'shots', task.config, weights, '--out-dir', 'out', '--batch-size', 4, code=1)
    assert 'row.png' in line
    assert '3000 × 1' in line
    assert {file.name for file in (tmp_path / 'out/preds').rglob('*.json')} == {'a.json', 'b.json'}
    detector = FileInferencer(mmdet_dab.load_config(str(task.config)), str(weights), 'cpu')
    grey = cv2.imread(str(shots / 'a.png'), cv2.IMREAD_GRAYSCALE)
    one, other = detector.batch([grey, np.repeat(grey[..., None], 3, axis=2)])
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)
    with pytest.raises(DataError, match='float64'):
        detector.batch([np.zeros((4, 4))])


def test_weights_of_another_model_are_refused_and_wrapped_ones_found(
    command: Commands, task: Task, weights: Path, shots: Path
):
    state = torch.load(weights, weights_only=True)['state_dict']
    torch.save({'model': dict(list(state.items())[: len(state) // 2])}, 'half.pth')
    assert 'half.pth' in command.error('infer', 'shots/a.png', task.config, 'half.pth')
    spoiled = {name: value * float('nan') if value.dim() == 4 else value for name, value in state.items()}
    torch.save({'state_dict': spoiled}, 'nan.pth')
    assert 'nan.pth' in command.error('infer', 'shots/a.png', task.config, 'nan.pth')
    torch.save({'ema': {'module': {f'net.{name}': value for name, value in state.items()}}}, 'wrapped.pth')
    command('infer', 'shots/a.png', task.config, 'wrapped.pth', '--out-dir', 'out')
    # No names in the checkpoint: those of the config, not COCO's.
    assert set(json.loads(Path('out/preds/a.json').read_text())['names']) <= set(CLASSES)


@pytest.mark.parametrize('names', [('square',), ('a', 'b', 'c')])
def test_names_of_another_number_of_classes_are_not_drawn(
    command: Commands, task: Task, weights: Path, shots: Path, names: tuple[str, ...]
):
    state = torch.load(weights, weights_only=True)['state_dict']
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': names}}}, 'named.pth')
    command('infer', 'shots/a.png', task.config, 'named.pth', '--out-dir', 'out')
    assert set(json.loads(Path('out/preds/a.json').read_text())['names']) <= set(CLASSES)
    bare = Config.fromfile(task.config)
    bare.test_dataloader.dataset.metainfo = bare.metainfo = dict(classes=('only',))
    bare.dump('bare.py')
    assert 'named.pth' in command.error('infer', 'shots/a.png', 'bare.py', 'named.pth')


@pytest.mark.parametrize('device', ['gpu', '0', 'cuda:99', 'CPU', '-1', ''])
def test_a_device_that_is_not_there(device: str):
    check_device('cpu')
    with pytest.raises(UserError, match=rf'--device {device}: .*cpu'):
        check_device(device)


def test_a_device_is_refused_by_the_command(command: Commands, task: Task, weights: Path, shots: Path):
    assert '--device gpu' in command.error('infer', 'shots', task.config, weights, '--device', 'gpu')


# --- Released detectors by name


def test_a_detector_by_its_name(
    command: Commands, task: Task, shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """From a cache of the hub, as transformers writes it; a tiny detector stands for the released one."""
    from huggingface_hub import constants

    from tests.helpers.huggingface import THEIR_WAY, build_theirs

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    repository = tmp_path / 'hub/models--someone--tiny'
    (repository / 'refs').mkdir(parents=True)
    (repository / 'refs/main').write_text('0' * 40)
    theirs = build_theirs()
    theirs.config.id2label = dict(enumerate(('ant', 'bee', 'cat')))
    theirs.save_pretrained(repository / 'snapshots' / ('0' * 40))
    config = Config.fromfile(task.config)
    config.model = tiny_config(**THEIR_WAY)
    config.dump(tmp_path / 'tiny.py')
    monkeypatch.setitem(RELEASED, 'dab_detr_tiny', Released(str(tmp_path / 'tiny.py'), 'hf://someone/tiny'))
    command('infer', 'shots/a.png', '--model', 'dab_detr_tiny', '--out-dir', 'out', '--device', 'cpu')
    assert set(json.loads((tmp_path / 'out/preds/a.json').read_text())['names']) <= {'ant', 'bee', 'cat'}
    assert 'hf://someone/tiny' in command.error('infer', 'shots/a.png', '--model', 'hf://someone/tiny')


def test_a_name_that_is_none_and_too_few_arguments(command: Commands, task: Task, shots: Path):
    assert 'dab_detr_r50_3pat' in command.error('infer', 'shots/a.png', '--model', 'dab_detr_r50_4pat')
    assert '--model' in command.error('infer', 'shots/a.png', task.config)
