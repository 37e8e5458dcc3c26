"""From images and annotations to a config: what is written, what is printed, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmdet_dab import preflight
from mmdet_dab.config import load_config
from mmdet_dab.data import new_dataset, trial
from mmdet_dab.data.checks.config import check_config
from mmdet_dab.data.new_dataset import make
from mmdet_dab.errors import DataError
from mmdet_dab.registry import MODELS
from tests.helpers.drawn import Drawn, complaint, draw, voc, yolo
from tests.helpers.paths import CONFIGS


@pytest.fixture
def no_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at in test_sample_sheet.py."""
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)


def written_config(drawn: Drawn) -> Config:
    return load_config(str(drawn.folder / 'mine/cells.py'), {})


@pytest.mark.parametrize('kind', ['coco', 'voc', 'yolo'])
def test_the_written_config_is_whole(drawn: Drawn, kind: str, capsys: pytest.CaptureFixture[str]):
    """Its paths are found from the current folder, the checks of a training run pass, the model builds."""
    annotations = {'coco': drawn.coco, 'voc': lambda: voc(drawn), 'yolo': lambda: yolo(drawn)}[kind]()
    relative = annotations.relative_to(drawn.folder)
    make(drawn.request(relative, images=Path('images'), out=Path('mine/cells.py')))
    printed = capsys.readouterr().out
    assert f'format      {kind}' in printed
    cfg = written_config(drawn)
    assert sorted(cfg.metainfo.classes) == ['bar', 'square']
    assert cfg.data_root == './'
    assert cfg.train_dataloader.dataset.ann_file == 'mine/cells_annotations/train.json'
    assert cfg.train_dataloader.dataset.data_prefix.img == './images/'
    assert cfg.val_evaluator.ann_file == 'mine/cells_annotations/val.json'
    assert cfg.model.query_generator.generator.num_queries == 20
    assert (cfg.model.num_classes, cfg.model.bbox_head.selection.max_per_img) == (2, 40)
    assert cfg.scale == (64, 48)
    # 6 images to train on: 2,800 · √(6/200) = 485 steps of 4, two an epoch. The average reaches back over 83.
    assert (cfg.train_cfg.max_epochs, cfg.batch_size, cfg.default_hooks.ema.momentum) == (243, 4, 0.01)
    preflight.check_data(cfg, 'train', 'val', 'test')
    preflight.check_annotations(cfg, 'train', 'val', 'test')
    assert capsys.readouterr().err == ''
    model = MODELS.build(cfg.model)
    model.init_weights()
    report = (drawn.folder / 'mine/cells_report.txt').read_text()
    assert report.strip() in printed
    assert (drawn.folder / 'mine/cells_samples.jpg').is_file()


def test_values_to_tune_act_from_outside(drawn: Drawn, no_sheet: None):
    make(drawn.request(drawn.coco()))
    options = dict(max_epochs=7, batch_size=3, learning_rate=0.25, scale=(32, 32), num_queries=33)
    cfg = load_config(str(drawn.folder / 'mine/cells.py'), options)
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[-1].end) == (7, 7)
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (3, 3)
    assert cfg.optim_wrapper.optimizer.lr == 0.25
    assert cfg.val_dataloader.dataset.pipeline[1].scale == (32, 32)
    assert cfg.model.query_generator.generator.num_queries == 33
    cfg = load_config(str(drawn.folder / 'mine/cells.py'), dict(data_root='elsewhere/'))
    assert cfg.train_dataloader.dataset.data_prefix.img == 'elsewhere/images/'


def test_objects_of_very_different_sizes_get_anchors_of_six(drawn: Drawn, no_sheet: None):
    box = dict(category_id=1, area=1, iscrowd=0)
    specks = [dict(box, id=100 + n, image_id=1 + n % 8, bbox=[n % 60, 40, 1, 1]) for n in range(16)]
    make(drawn.request(drawn.coco(change=lambda content: content['annotations'].extend(specks))))
    anchors = written_config(drawn).model.query_generator.generator.initial_anchors
    assert (anchors.type, anchors.num_sizes) == ('BoxAnchors', 6)


def test_sound_files_are_named_where_they_are(drawn: Drawn, no_sheet: None):
    """With two sound files of COCO nothing is converted."""
    make(drawn.request(drawn.part('train.json', 0, 5), val=drawn.part('val.json', 5, 8)))
    assert not (drawn.folder / 'mine/cells_annotations').exists()
    assert written_config(drawn).val_dataloader.dataset.ann_file == './val.json'


def test_where_converted_files_go(drawn: Drawn, no_sheet: None):
    make(drawn.request(drawn.coco(), annotations_out=drawn.folder / 'converted'))
    assert written_config(drawn).train_dataloader.dataset.ann_file == 'converted/train.json'


def test_voc_in_two_folders_with_images_beside_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_sheet: None
):
    """The commonest layout: train/0.png, train/0.xml, test/0.png, test/0.xml; with the same names on both sides."""
    for name in ('train', 'test'):
        drawn = draw(tmp_path / name, 5 if name == 'train' else 4)
        voc(drawn, 'xml')
        for path in [*(tmp_path / name).glob('images/*'), *(tmp_path / name).glob('xml/*')]:
            path.rename(tmp_path / name / path.name)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / 'cells.py'
    make(drawn.request(Path('train'), images=Path('train'), val=Path('test'), out=out))
    cfg = load_config(str(out), {})
    assert cfg.train_dataloader.dataset.data_prefix.img == './train/'
    assert cfg.val_dataloader.dataset.data_prefix.img == './test/'
    assert len(json.loads(Path('cells_annotations/val.json').read_text())['images']) == 4
    preflight.check_annotations(cfg, 'train', 'val')


def test_a_list_of_validation_images(drawn: Drawn, no_sheet: None):
    listing = drawn.folder / 'val.txt'
    listing.write_text('3\n5  -1\n')
    make(drawn.request(voc(drawn), val=listing))
    written = json.loads((drawn.folder / 'mine/cells_annotations/val.json').read_text())
    assert [image['file_name'] for image in written['images']] == ['3.png', '5.png']


def test_the_recipe_is_held_against_the_data(drawn: Drawn, no_sheet: None, capsys: pytest.CaptureFixture[str]):
    """120 objects of 4 × 4 pixels on one image: 250 queries find them, COCO's AP counts 100, the stride is 16."""
    box = dict(category_id=1, area=16, iscrowd=0)
    crowd = [dict(box, id=100 + n, image_id=1, bbox=[n % 60, n // 3, 4, 4]) for n in range(120)]
    annotations = drawn.coco(change=lambda content: content['annotations'].extend(crowd))
    make(drawn.request(annotations, val=drawn.coco('val.json')))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('warning')]
    assert any('all.json: 1 image ' in line and '0.png: 122' in line for line in lines)
    # The bars are 28 × 8: √224 = 14.97 pixels.
    assert any('all.json: 128 of 136 objects' in line and 'annotation 100' in line for line in lines)
    assert any('val.json: 8 of 16 objects' in line for line in lines)
    assert written_config(drawn).model.query_generator.generator.num_queries == 250


# --- Leaving out


def test_leaving_out_what_cannot_be_used(drawn: Drawn, no_sheet: None, capsys: pytest.CaptureFixture[str]):
    """A broken image, one that is gone, an invalid box and one without numbers, with all that is marked on them."""
    (drawn.images / '0.png').write_bytes(b'')
    (drawn.images / '1.png').unlink()

    def change(content: dict[str, Any]) -> None:
        content['annotations'][4]['bbox'] = [4, 6, -3, 16]
        content['annotations'][6]['bbox'] = None

    annotations = drawn.coco(change=change)
    assert 'other error' in complaint(drawn.request(annotations, val=drawn.coco('sound.json')))
    make(drawn.request(annotations, leave_out=True))
    assert 'left out    ' in capsys.readouterr().out
    written = [
        json.loads((drawn.folder / f'mine/cells_annotations/{side}.json').read_text()) for side in ('train', 'val')
    ]
    assert sum(len(content['images']) for content in written) == 6
    assert sum(len(content['annotations']) for content in written) == 6 * 2 - 2


def test_areas_of_zero_are_filled_in_and_no_box_is_lost(drawn: Drawn, no_sheet: None):
    change = lambda content: [item.update(area=0) for item in content['annotations']]  # noqa: E731
    for leave_out in (False, True):
        make(drawn.request(drawn.coco(change=change), leave_out=leave_out, overwrite=True))
        written = [
            json.loads((drawn.folder / f'mine/cells_annotations/{side}.json').read_text())['annotations']
            for side in ('train', 'val')
        ]
        assert sorted(item['area'] for part in written for item in part) == [224] * 8 + [256] * 8


# --- One judgement


def invalid(number: int) -> Callable[[dict[str, Any]], None]:
    """That many inverted boxes, all on the first images."""

    def change(content: dict[str, Any]) -> None:
        for item in content['annotations'][: 2 * number : 2]:
            x, y, w, h = item['bbox']
            item['bbox'] = [x + w, y, -w, h]

    return change


@pytest.mark.parametrize('number', range(5))
@pytest.mark.parametrize('seed', range(3))
def test_what_is_written_is_never_refused_when_training_starts(tmp_path: Path, no_sheet: None, number: int, seed: int):
    """The share of invalid boxes in the whole can be small, and large in one split: both commands judge alike."""
    drawn = draw(tmp_path, 24)
    request = drawn.request(drawn.coco(change=invalid(number)), seed=seed)
    try:
        make(request)
    except new_dataset.DataError:
        assert number > 0
        assert not request.out.exists()
        return
    findings = check_config(load_config(str(request.out), {}), ('train', 'val', 'test'))
    assert not any(finding.stops for finding in findings)


def test_a_share_that_is_large_in_one_split_only(tmp_path: Path, no_sheet: None):
    """2 of 48 boxes are 4 %; both on validation images, they are 2 of 10 there."""
    drawn = draw(tmp_path, 24)
    listing = drawn.folder / 'val.txt'
    listing.write_text('0\n1\n2\n3\n4\n')
    message = complaint(drawn.request(drawn.coco(change=invalid(2)), val=listing))
    assert '2 of 10 boxes' in message
    assert 'val' in message


# --- Requests


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(out=Path('a.b.py')), ['--out a.b.py', 'dot']),
        (dict(out=Path('a.txt')), ['--out a.txt', '.py']),
        (dict(images=Path('gone')), ['--images gone']),
        (dict(val_images=Path('images')), ['--val-images', '--val']),
        (dict(val_share=1.0), ['--val-share 1']),
        (dict(classes=('bar', 'bar')), ['--classes', 'bar']),
        (dict(boxes_on='turned'), ['--boxes-on turned', 'upright', 'stored']),
    ],
)
def test_requests_that_cannot_be(drawn: Drawn, options: dict[str, Any], words: list[str]):
    message = complaint(drawn.request(drawn.coco(), **options))
    assert all(word in message for word in words), message


def test_a_config_is_not_written_over(drawn: Drawn, no_sheet: None):
    make(drawn.request(drawn.coco()))
    with pytest.raises(new_dataset.DataError, match=r'cells\.py: .*--overwrite'):
        make(drawn.request(drawn.coco()))
    make(drawn.request(drawn.coco(), overwrite=True))


def test_file_names_that_are_no_text_are_printed_with_escapes(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    """A name in another encoding than the system's, as unpacked archives have."""
    for image in drawn.content['images']:
        new = f'\udcff{image["file_name"]}'
        (drawn.images / image['file_name']).rename(drawn.images / new)
        image['file_name'] = new
    (drawn.images / '\udcffother.png').write_bytes((drawn.images / new).read_bytes())
    make(drawn.request(drawn.coco()))
    assert '\\udcffother.png' in capsys.readouterr().out
    cfg = written_config(drawn)
    assert not any(finding.stops for finding in check_config(cfg, ('train', 'val')))


# --- From a checkpoint


@pytest.fixture
def checkpoint(drawn: Drawn) -> Path:
    """As a training run of the small model leaves it, of three classes of which one is ours."""
    cfg = Config.fromfile(CONFIGS / '_base_/models/dab_detr_small.py')
    cfg.merge_from_dict({'model.num_classes': 3, 'model.query_generator.num_queries': 30})
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=('bar', 'ring', 'star')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), drawn.folder / 'start.pth')
    return drawn.folder / 'start.pth'


def test_starting_from_a_checkpoint(drawn: Drawn, checkpoint: Path, no_sheet: None, capsys: pytest.CaptureFixture[str]):
    make(drawn.request(drawn.coco(), start=str(checkpoint)))
    assert 'it knows 1 of 2 classes' in capsys.readouterr().out
    cfg = written_config(drawn)
    assert cfg.load_from == str(checkpoint)
    # The small model knows nothing of COCO's scale: as from scratch, with half the rate.
    assert (cfg.scale, cfg.learning_rate, cfg.batch_size) == ((64, 48), 0.0005, 4)
    own = MODELS.build(cfg.model).state_dict()
    loaded = torch.load(checkpoint, weights_only=True)['state_dict']
    missing = [name for name in own if name not in loaded]
    assert all('denoising' in name or 'class' in name or 'label' in name for name in missing), missing
    other = [name for name, tensor in own.items() if name in loaded and loaded[name].shape != tensor.shape]
    assert other == ['bbox_head.class_branch.weight', 'bbox_head.class_branch.bias']


def test_a_checkpoint_with_too_few_queries_gets_new_anchors(drawn: Drawn, checkpoint: Path, no_sheet: None):
    box = dict(category_id=1, area=4, iscrowd=0)
    crowd = [dict(box, id=100 + n, image_id=1, bbox=[n, 1, 2, 2]) for n in range(40)]
    annotations = drawn.coco(change=lambda content: content['annotations'].extend(crowd))
    make(drawn.request(annotations, start=str(checkpoint)))
    generator = written_config(drawn).model.query_generator
    generator = generator.get('generator', generator)
    assert generator.num_queries == 90
    assert generator.initial_anchors.type == 'BoxAnchors'


def test_anchors_have_the_mean_size_of_the_boxes(drawn: Drawn, no_sheet: None):
    """The geometric mean of 16 × 16 and 28 × 8 pixels, in fractions of 64 × 48."""
    from mmdet.registry import DATASETS

    from mmdet_dab.hooks.anchors_from_data_hook import training_boxes
    from mmdet_dab.models.anchors import BoxAnchors

    make(drawn.request(drawn.coco()))
    boxes = training_boxes(DATASETS.build(written_config(drawn).train_dataloader.dataset), 100)
    sizes = BoxAnchors().from_boxes(boxes, 20).sigmoid()[:, 2:].unique(dim=0)
    assert sizes.tolist() == [pytest.approx((math.sqrt(16 * 28) / 64, math.sqrt(16 * 8) / 48), rel=1e-4)]


def test_a_split_without_objects(drawn: Drawn, no_sheet: None):
    """Of eight images the one for validation has none: an evaluation would have nothing to find."""
    change = lambda content: content.update(annotations=content['annotations'][2:])  # noqa: E731
    listing = drawn.folder / 'val.txt'
    listing.write_text('0')
    message = complaint(drawn.request(drawn.coco(change=change), val=listing))
    assert 'in the val split' in message


# --- From ImageNet, and by the clock


def test_the_imagenet_start(drawn: Drawn, no_sheet: None, capsys: pytest.CaptureFixture[str]):
    make(drawn.request(drawn.coco(), start='imagenet'))
    assert 'ImageNet' in capsys.readouterr().out
    cfg = written_config(drawn)
    assert cfg.model.backbone.type == 'EfficientNetLite'
    assert cfg.model.backbone.init_cfg.type == 'ImageNetWheel'
    assert cfg.get('load_from') is None
    detector = MODELS.build(cfg.model)
    detector.init_weights()


@pytest.mark.parametrize('half', [0.1, 1.0])
def test_minutes_are_spent_in_bfloat16_where_that_is_faster(half, drawn: Drawn, no_sheet, monkeypatch):
    """The trial is of both; the config says which, and a training run takes it."""

    def measured(cfg):
        return trial.Speed(half if cfg.optim_wrapper.type == 'CPUAmpOptimWrapper' else 0.5, 1.0)

    monkeypatch.setattr(trial, 'measure_config', measured)
    monkeypatch.setattr(trial, 'is_cuda_available', lambda: False)
    make(drawn.request(drawn.coco(), minutes=2))
    cfg = written_config(drawn)
    assert (cfg.optim_wrapper.type == 'CPUAmpOptimWrapper') == (half < 0.5)
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'


def test_minutes_become_epochs(drawn: Drawn, no_sheet: None, monkeypatch: pytest.MonkeyPatch):
    """By a trial on this machine, which leaves nothing behind."""
    monkeypatch.setattr(trial, 'MEASURED', 2)
    monkeypatch.setattr(trial, 'WARM_UP', 1)
    annotations = drawn.coco()
    make(drawn.request(annotations, minutes=2))
    two = written_config(drawn).max_epochs
    files = {path.name for path in drawn.folder.iterdir()}
    make(drawn.request(annotations, minutes=4, overwrite=True))
    assert 3 <= two < written_config(drawn).max_epochs
    assert {path.name for path in drawn.folder.iterdir()} == files
    with pytest.raises(DataError, match='--minutes'):
        make(drawn.request(annotations, minutes=0.01, overwrite=True))
    for no_number in (float('nan'), float('inf')):
        with pytest.raises(DataError, match='--minutes'):
            make(drawn.request(annotations, minutes=no_number, overwrite=True))
