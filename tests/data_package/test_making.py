"""From pictures to a config: figures by hand, conversions by hand, files that are written, and a step of training."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet_dab import cli
from mmdet_dab.checkpoints import CheckpointError
from mmdet_dab.data import new_dataset
from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.base_model import SCRATCH, Start
from mmdet_dab.data.config_writer import DataPaths, data_paths, way_from
from mmdet_dab.data.formats import detect_format, read
from mmdet_dab.data.images import PictureFolder
from mmdet_dab.data.new_dataset import make
from mmdet_dab.data.recipe import (
    suggest,
    suggest_anchor_sizes,
    suggest_epochs,
    suggest_learning_rate,
    suggest_queries,
    suggest_scale,
)
from mmdet_dab.data.split import split_by_share
from mmdet_dab.data.statistics import Measures, Resizing, measure
from mmdet_dab.errors import DataError
from mmdet_dab.registry import MODELS
from tests.helpers.drawn import Drawn, draw, voc, yolo
from tests.helpers.paths import CONFIGS

#: What each format says of every drawn picture: class, x y w h, and whether it is to be found.
SQUARE, BAR = ('square', [4, 6, 16, 16], 0), ('bar', [30, 20, 28, 8], 0)


def objects(data: Annotations) -> dict[str, list[tuple[str, list[float], int]]]:
    """Picture -> its objects."""
    names = {category['id']: category['name'] for category in data.categories}
    files = {image['id']: image['file_name'] for image in data.images}
    found: dict[str, list[tuple[str, list[float], int]]] = {name: [] for name in files.values()}
    for item in data.objects:
        found[files[item['image_id']]].append((names[item['category_id']], item['bbox'], item['iscrowd']))
    return found


# --- Reading


def test_voc_by_hand(drawn: Drawn):
    """Corners (4, 6), (20, 22) are 16 × 16; floats stay; classes are sorted; difficult objects are crowds."""
    data = read(voc(drawn, difficult='1'), 'voc', PictureFolder(drawn.images), None)
    expected = [('square', [4, 6, 16, 16], 1), ('bar', [30, 20.5, 28, 8], 0)]
    assert objects(data) == {f'{number}.png': expected for number in range(8)}
    assert [category['name'] for category in data.categories] == ['bar', 'square']
    assert [item['area'] for item in data.objects[:2]] == [256, 224]
    assert data.place(1) == '0.xml, object 2'
    assert data.counted.tolist() == [False, True] * 8


def test_voc_whose_files_name_other_pictures(tmp_path: Path):
    """Pictures .JPG, a ``filename`` from another machine, no size: as annotation tools leave them."""
    drawn = draw(tmp_path / 'with a space', 2, '.JPG')
    folder = voc(drawn, size='', name='C:\\somewhere\\no such.png')
    data = read(folder, 'voc', PictureFolder(drawn.images), ('square', 'bar'))
    assert [(image['file_name'], image['width'], image['height']) for image in data.images] == [
        ('0.JPG', 64, 48),
        ('1.JPG', 64, 48),
    ]
    assert [category['name'] for category in data.categories] == ['square', 'bar']
    assert any('2 files say no size' in line for line in data.filled)


def test_yolo_by_hand(drawn: Drawn):
    """Centres and sizes in parts of 64 × 48 pixels; an outline becomes its box; no file is no object."""
    folder = yolo(drawn)
    (folder / '0.txt').write_text('1 0.25 0.25 0.5 0.25 0.5 0.75 0.3 0.5\n\n')
    (folder / '1.txt').write_text('')
    (folder / '2.txt').unlink()
    data = read(folder, 'yolo', PictureFolder(drawn.images), None)
    found = objects(data)
    (outline,) = found.pop('0.png')
    assert outline == ('bar', pytest.approx([16, 12, 16, 24]), 0)
    assert found.pop('1.png') == found.pop('2.png') == []
    for square, bar in found.values():
        assert (square[0], bar[0]) == ('square', 'bar')
        np.testing.assert_allclose([square[1], bar[1]], [SQUARE[1], BAR[1]], atol=1e-9)
    assert len(found) == 5
    assert data.place(0) == '0.txt, line 1'
    assert any('1 outlines were made boxes' in line for line in data.filled)
    assert any('1 pictures have no text file' in line for line in data.filled)


def test_yolo_pictures_of_another_split_are_not_background(drawn: Drawn):
    folder = yolo(drawn)
    (folder / '2.txt').unlink()
    data = read(folder, 'yolo', PictureFolder(drawn.images), None, shared_pictures=True)
    assert '2.png' not in objects(data)
    assert len(data.images) == 7


@pytest.mark.parametrize('file', ['classes.txt', 'obj.names'])
def test_yolo_names_in_a_list(drawn: Drawn, file: str):
    folder = yolo(drawn, names=None)
    (folder / file).write_text('square\nbar\n\n')
    assert read(folder, 'yolo', PictureFolder(drawn.images), None).names() == ['square', 'bar']
    assert detect_format(folder) == 'yolo'


def test_what_a_coco_file_leaves_out_is_filled_in(drawn: Drawn):
    def thin_out(content: dict[str, Any]) -> None:
        for image in content['images']:
            del image['width'], image['height']
        for item in content['annotations']:
            del item['area'], item['iscrowd'], item['id']

    data = read(drawn.coco(change=thin_out), 'coco', PictureFolder(drawn.images), None)
    assert data.images[0] == dict(id=1, file_name='0.png', width=64, height=48)
    assert data.objects[1] == dict(image_id=1, category_id=2, bbox=[30, 20, 28, 8], area=224, iscrowd=0, id=2)
    assert len(data.filled) == 4
    sound = read(drawn.coco(), 'coco', PictureFolder(drawn.images), None)
    assert not sound.filled


# --- Dividing


def test_the_split_is_the_same_every_time_and_keeps_copies_together(tmp_path: Path):
    """20 pictures, of which 0 to 9 are one and the same: whatever the seed, they are on one side."""
    drawn = draw(tmp_path, 20)
    for number in range(1, 10):
        (drawn.images / f'{number}.png').write_bytes((drawn.images / '0.png').read_bytes())
    data = read(drawn.coco(), 'coco', PictureFolder(drawn.images), None)
    sides = [split_by_share(data, drawn.images, 0.2, seed)[:2] for seed in (0, 0, 1, 2, 3)]
    assert sides[0] == sides[1]
    assert len({tuple(val) for _, val in sides}) > 1
    for train, val in sides:
        assert sorted(train + val) == list(range(20))
        assert len(set(range(10)) & set(val)) in (0, 10)
    backwards = data.select(range(20))
    backwards.images.reverse()
    train, val, _ = split_by_share(backwards, drawn.images, 0.2, 0)
    assert {backwards.images[row]['id'] for row in val} == {data.images[row]['id'] for row in sides[0][1]}


def test_a_rare_class_is_on_both_sides(tmp_path: Path):
    """Two of 20 pictures have it: of 100 orders, one is taken that parts them."""
    drawn = draw(tmp_path, 20)

    def change(content: dict[str, Any]) -> None:
        content['categories'].append(dict(id=3, name='rare'))
        for row in (10, 30):
            content['annotations'][row]['category_id'] = 3

    data = read(drawn.coco(change=change), 'coco', PictureFolder(drawn.images), None)
    _, val, how = split_by_share(data, drawn.images, 0.2, 0)
    assert len({5, 15} & set(val)) == 1
    assert 'in training only' not in how


def test_a_list_of_validation_pictures(drawn: Drawn, capsys: pytest.CaptureFixture[str]):
    """As VOC (stems, with ±1) and Darknet (paths) write them."""
    listing = drawn.folder / 'val.txt'
    listing.write_text('3\n5  -1\nelsewhere/images/6.png\n')
    make(drawn.request(voc(drawn), val=listing))
    written = json.loads((drawn.folder / 'mine/cells_annotations/val.json').read_text())
    assert [image['file_name'] for image in written['images']] == ['3.png', '5.png', '6.png']
    assert '3 of 8 pictures for validation, those that' in capsys.readouterr().out
    listing.write_text('77\n')
    with pytest.raises(DataError, match=r'names 77, which .* does not have'):
        make(drawn.request(drawn.folder / 'xml files', val=listing, overwrite=True))


# --- Measuring and suggesting


def test_measures_by_hand(drawn: Drawn):
    """Two objects a picture, √(16·16) = 16 and √(28·8) = 14.97 pixels; in 32 × 24, half of it."""
    data = read(drawn.coco(), 'coco', PictureFolder(drawn.images), None)
    one = measure(data, ('square', 'bar'))
    assert one.typical_size() == (64, 48)
    assert one.counts.tolist() == [2] * 8
    assert one.per_class.tolist() == one.pictures_per_class.tolist() == [8, 8]
    assert sorted(set(one.object_sizes().round(2))) == [14.97, 16]
    assert sorted(set(one.object_sizes(Resizing((32, 32), keep_ratio=True)).round(2))) == [7.48, 8]
    # Squeezed to 16 × 48, widths are a quarter and heights are kept: half again.
    assert sorted(set(one.object_sizes(Resizing((16, 48), keep_ratio=False)).round(2))) == [7.48, 8]
    assert measure(data, ('bar',)).relative_size() == pytest.approx((28 / 64, 8 / 48))


def figures(parts: list[float], sizes: tuple[int, int] = (640, 480)) -> Measures:
    """Square objects whose side is that part of the longer side of their picture, one on each."""
    sides = np.array(parts) * max(sizes)
    pictures = np.tile(np.array(sizes, dtype=float), (len(parts), 1))
    boxes = np.concatenate([np.stack([sides, sides], axis=1), pictures], axis=1)
    counts = np.ones(len(parts), dtype=int)
    return Measures(pictures, counts, boxes, np.array([len(parts)]), np.array([len(parts)]), 0)


@pytest.mark.parametrize(
    ('parts', 'sizes', 'scale'),
    [
        # 2.5 strides of 16 pixels are 0.16 of 250 pixels, in steps of 32: 256; 3/4 of it in height.
        ([0.16] * 20, (640, 480), (256, 192)),
        # One in ten is 0.05 of the picture: a stride needs 320 pixels.
        ([0.16] * 18 + [0.05] * 2, (640, 480), (320, 240)),
        # Large objects: no smaller than 192.
        ([0.9] * 20, (640, 480), (192, 144)),
        # Small ones: no more than 640, and no more than the pictures have.
        ([0.01] * 20, (2000, 1500), (640, 480)),
        ([0.01] * 20, (320, 320), (320, 320)),
        # Portraits.
        ([0.16] * 20, (480, 640), (192, 256)),
    ],
)
def test_scale_by_hand(parts: list[float], sizes: tuple[int, int], scale: tuple[int, int]):
    assert suggest_scale(figures(parts, sizes), 16)[0] == scale


def test_queries_by_hand():
    """Two for each object of the fullest picture, 20 at least; those of a checkpoint where they are enough."""
    assert [suggest_queries(most, None)[0] for most in (1, 10, 30, 33, 800)] == [20, 20, 60, 70, 900]
    assert [suggest_queries(most, 300)[0] for most in (1, 300, 301)] == [300, 300, 610]


def test_anchor_sizes_by_hand():
    """One size, but six where that of the 95th percentile is over ten times that of the 5th."""
    assert suggest_anchor_sizes(figures([0.05] * 10 + [0.4] * 10))[0] == 1
    assert suggest_anchor_sizes(figures([0.05] * 19 + [0.6]))[0] == 1
    sizes, reason = suggest_anchor_sizes(figures([0.05] * 10 + [0.6] * 10))
    assert sizes == 6
    assert reason == "of 6 sizes of the training's objects, whose sizes differ by a factor of 12.0"


def test_epochs_by_hand():
    """200 pictures: 2,800 steps of 4, 56 epochs of 50. Four times as many: twice the steps. At most 300 epochs."""
    assert suggest_epochs(200, 4, True)[:2] == (56, 50)
    assert suggest_epochs(800, 4, True)[:2] == (28, 200)
    assert suggest_epochs(4, 4, True)[:2] == (300, 1)
    assert suggest_epochs(100_000, 8, True)[:2] == (12, 12_500)
    assert suggest_epochs(200, 4, False)[:2] == (28, 50)


def test_learning_rate_by_hand():
    """From scratch 1e-3 · √(objects of a step / 50), between 3e-4 and 1e-3; from a checkpoint by the batch."""
    scratch, start = Start(SCRATCH, 16), Start(SCRATCH, 16, checkpoint=Path('small.pth'))
    found = [suggest_learning_rate(scratch, 4, objects)[0] for objects in (1, 3, 6.25, 12.5, 40)]
    assert found == [3e-4, 5e-4, 7e-4, 1e-3, 1e-3]
    assert suggest_learning_rate(scratch, 4, 4.3)[1].endswith('A step has 17.')
    assert [suggest_learning_rate(start, batch, 1)[0] for batch in (1, 4)] == [3e-4, 5e-4]


def test_more_predictions_than_queries_and_classes_can_give_are_not_asked_for():
    assert suggest(figures([0.2] * 20), 3, Start(SCRATCH, 16)).max_per_img == 20


def test_what_a_recipe_cannot_find(drawn: Drawn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """120 objects of 4 × 4 pixels on one picture: 240 queries find them, COCO's AP counts 100, the stride is 16."""
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)
    box = dict(category_id=1, area=16, iscrowd=0)
    crowd = [dict(box, id=100 + n, image_id=1, bbox=[n % 60, n // 3, 4, 4]) for n in range(120)]
    make(
        drawn.request(
            drawn.coco(change=lambda content: content['annotations'].extend(crowd)), val=drawn.coco('val.json')
        )
    )
    printed = capsys.readouterr().out
    assert 'all.json: 1 pictures have more objects than 100 (0.png: 122)' in printed
    # The bars are 28 × 8: √224 = 14.97 pixels.
    assert 'all.json: 128 of 136 objects are smaller than the stride of 16 pixels at 64×48 (annotation 100' in printed
    assert 'val.json: 8 of 16 objects are smaller than the stride' in printed
    assert written_config(drawn).num_queries == 250


# --- Writing


def written_config(drawn: Drawn) -> Config:
    return cli.load_config(str(drawn.folder / 'mine/cells.py'), {})


@pytest.mark.parametrize('kind', ['coco', 'voc', 'yolo'])
def test_the_written_config_is_whole(drawn: Drawn, kind: str, capsys: pytest.CaptureFixture[str]):
    """It says what was found, its paths are found from the current folder, and the checks of a training pass."""
    annotations = {'coco': drawn.coco, 'voc': lambda: voc(drawn), 'yolo': lambda: yolo(drawn)}[kind]()
    relative = annotations.relative_to(drawn.folder)
    make(drawn.request(relative, images=Path('images'), out=Path('mine/cells.py')))
    printed = capsys.readouterr().out
    assert f'format      {kind}, as the files look' in printed
    cfg = written_config(drawn)
    assert sorted(cfg.metainfo.classes) == ['bar', 'square']
    assert cfg.data_root == './'
    assert cfg.train_dataloader.dataset.ann_file == 'mine/cells_annotations/train.json'
    assert cfg.train_dataloader.dataset.data_prefix.img == 'images/'
    assert cfg.val_evaluator.ann_file == './mine/cells_annotations/val.json'
    queries = cfg.model.query_generator
    assert (queries.generator.num_queries, queries.num_classes, cfg.model.bbox_head.num_classes) == (20, 2, 2)
    assert cfg.model.bbox_head.max_per_img == 40
    assert cfg.scale == (64, 48)
    # 6 pictures to train on: 2,800 · √(6/200) = 485 steps of 4, two an epoch. The average reaches back over 83 of them.
    assert (cfg.train_cfg.max_epochs, cfg.batch_size) == (243, 4)
    assert cfg.default_hooks.ema.momentum == 0.01
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 1
    cli.check_data(cfg, 'train', 'val', 'test')
    cli.check_annotations(cfg, 'train', 'val', 'test')
    assert capsys.readouterr().err == ''
    model = MODELS.build(cfg.model)
    model.init_weights()
    sizes = model.query_generator.generator.anchors()[:, 2:].unique(dim=0)
    # The geometric mean of 16 × 16 and 28 × 8 pixels, in parts of 64 × 48.
    assert sizes.tolist() == [pytest.approx((math.sqrt(16 * 28) / 64, math.sqrt(16 * 8) / 48), rel=1e-4)]
    report = (drawn.folder / 'mine/cells_report.txt').read_text()
    assert report.strip() in printed
    assert 'pictures' in report


def test_objects_of_very_different_sizes_get_anchors_of_six(drawn: Drawn, monkeypatch: Any):
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)
    box = dict(category_id=1, area=1, iscrowd=0)
    specks = [dict(box, id=100 + n, image_id=1 + n % 8, bbox=[n % 60, 40, 1, 1]) for n in range(16)]
    make(drawn.request(drawn.coco(change=lambda content: content['annotations'].extend(specks))))
    anchors = written_config(drawn).model.query_generator.generator.initial_anchors
    assert (anchors.type, anchors.num_sizes) == ('mmdet_dab.BoxAnchors', 6)
    assert "of 6 sizes of the training's" in (drawn.folder / 'mine/cells.py').read_text()


def test_sound_files_are_named_where_they_are(drawn: Drawn):
    """With two sound files of COCO nothing is converted, and absolute paths stay absolute."""
    make(drawn.request(drawn.part('train.json', 0, 5), val=drawn.part('val.json', 5, 8)))
    cfg = written_config(drawn)
    assert not (drawn.folder / 'mine/cells_annotations').exists()
    assert cfg.data_root == f'{drawn.folder}/'
    assert cfg.val_dataloader.dataset.ann_file == 'val.json'


def test_where_converted_files_go(drawn: Drawn):
    make(drawn.request(drawn.coco(), annotations_out=drawn.folder / 'converted'))
    assert written_config(drawn).train_dataloader.dataset.ann_file == 'converted/train.json'


def test_data_that_have_no_folder_in_common():
    """Annotations on another disk are named by their whole path, and nothing hangs on the root of all files."""
    annotations = Path('/annotations of mine/train.json')
    paths = data_paths((annotations, Path('/data/cells/images')), (annotations, Path('/data/cells/val')), absolute=True)
    assert paths == DataPaths('/data/cells/', str(annotations), 'images/', str(annotations), 'val/')


def test_a_link_to_the_data_keeps_its_name(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)
    here = drawn.folder / 'here'
    here.mkdir()
    (here / 'data').symlink_to(drawn.folder)
    train, val = drawn.part('train.json', 0, 5), drawn.part('val.json', 5, 8)
    monkeypatch.chdir(here)
    data = Path('data')
    make(drawn.request(data / train.name, images=data / 'images', val=data / val.name, out=Path('cells.py')))
    assert cli.load_config('cells.py', {}).data_root == 'data/'


def test_bases_are_found_from_wherever_the_config_lies(drawn: Drawn):
    """In one tree by a relative path, which stays right when the tree moves; elsewhere by the whole one."""
    repository = drawn.folder / 'repository/configs'
    shutil.copytree(CONFIGS / '_base_', repository / '_base_')
    make(drawn.request(drawn.coco(), configs=repository))
    config = drawn.folder / 'mine/cells.py'
    assert "'../repository/configs/_base_/models/dn_detr_small.py'," in config.read_text()
    drawn.folder.joinpath('moved').mkdir()
    for name in ('mine', 'repository'):
        (drawn.folder / name).rename(drawn.folder / 'moved' / name)
    assert cli.load_config(str(drawn.folder / 'moved/mine/cells.py'), {}).model.backbone.depth == 18
    assert way_from(Path('/home/me'), Path('/data/configs')) == '/data/configs'


def test_the_sheet_shows_the_boxes(drawn: Drawn):
    """It holds the colours of both classes, and the background of the first and the last picture."""
    make(drawn.request(drawn.coco()))
    sheet = cv2.cvtColor(cv2.imread(str(drawn.folder / 'mine/cells_samples.jpg')), cv2.COLOR_BGR2RGB).astype(int)
    assert sheet.shape[1] == 1760
    for colour in ((230, 60, 60), (60, 100, 230), (20, 20, 20), (160, 160, 160)):
        assert (np.abs(sheet - colour).max(axis=2) < 40).sum() > 500, colour


@pytest.fixture
def checkpoint(drawn: Drawn) -> Path:
    """As a training of the small model leaves it, of three classes of which one is ours."""
    cfg = Config.fromfile(CONFIGS / '_base_/models/dab_detr_small.py')
    cfg.merge_from_dict({'model.bbox_head.num_classes': 3, 'model.query_generator.num_queries': 30})
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=('bar', 'ring', 'star')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), drawn.folder / 'start.pth')
    return drawn.folder / 'start.pth'


def test_starting_from_a_checkpoint(drawn: Drawn, checkpoint: Path, capsys: pytest.CaptureFixture[str]):
    make(drawn.request(drawn.coco(), checkpoint=checkpoint))
    assert '1 of 2 classes are known to it' in capsys.readouterr().out
    cfg = written_config(drawn)
    assert cfg.load_from == str(checkpoint)
    assert cfg.model.query_generator.num_queries == 30
    assert cfg.model.backbone.depth == 18
    # The small model knows nothing of COCO's scale: as from scratch, with half the rate.
    assert (cfg.scale, cfg.learning_rate, cfg.batch_size) == ((64, 48), 0.0005, 4)
    assert 'it knows 1 of the classes: bar' in (drawn.folder / 'mine/cells.py').read_text()
    own = MODELS.build(cfg.model).state_dict()
    loaded = torch.load(checkpoint, weights_only=True)['state_dict']
    other = [name for name, tensor in own.items() if loaded[name].shape != tensor.shape]
    assert other == ['bbox_head.class_branch.weight', 'bbox_head.class_branch.bias']


def test_a_checkpoint_with_too_few_queries_gets_new_anchors(drawn: Drawn, checkpoint: Path, monkeypatch: Any):
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)
    box = dict(category_id=1, area=4, iscrowd=0)
    crowd = [dict(box, id=100 + n, image_id=1, bbox=[n, 1, 2, 2]) for n in range(40)]
    annotations = drawn.coco(change=lambda content: content['annotations'].extend(crowd))
    make(drawn.request(annotations, checkpoint=checkpoint))
    generator = written_config(drawn).model.query_generator
    assert generator.num_queries == 90
    assert generator.initial_anchors.type == 'mmdet_dab.BoxAnchors'


def test_a_checkpoint_of_another_model_is_refused(drawn: Drawn, checkpoint: Path):
    read = torch.load(checkpoint, weights_only=True)
    read['state_dict']['neck.convs.0.conv.weight'] = torch.zeros(64, 128, 1, 1)
    torch.save(read, checkpoint)
    with pytest.raises(DataError, match=r'fits none of the configs .*small\.py: it has another shape of neck'):
        make(drawn.request(drawn.coco(), checkpoint=checkpoint))
    with pytest.raises(CheckpointError, match='does not exist'):
        make(drawn.request(drawn.coco(), checkpoint=Path('gone.pth')))


def test_the_r50_config_is_the_base_for_its_weights(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(new_dataset, 'draw_sheet', lambda *_: None)
    model = MODELS.build(Config.fromfile(CONFIGS / 'dab_detr_r50_50e.py').model)
    torch.save(dict(state_dict=model.state_dict()), drawn.folder / 'r50.pth')
    make(drawn.request(drawn.coco(), checkpoint=drawn.folder / 'r50.pth'))
    cfg = written_config(drawn)
    assert cfg.model.backbone.depth == 50
    assert cfg.model.backbone.init_cfg is None, 'nothing is downloaded that the checkpoint has'
    assert (cfg.scale, cfg.batch_size) == ((1333, 800), 2)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
