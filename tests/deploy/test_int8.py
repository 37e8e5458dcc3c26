"""int8 files: the chosen parts are quantized and no others, AP decides, and a float file that cannot be replaced
stays."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdet_dab import build
from mmdet_dab.deploy import Predictor, int8
from mmdet_dab.deploy.backends import load_backend
from mmdet_dab.deploy.exporter import Request, export, onnx_to_openvino
from mmdet_dab.deploy.int8 import choice
from mmdet_dab.deploy.int8.data import CalibrationImages, Yardstick, dataset_as_tested
from mmdet_dab.deploy.int8.parts import CONVOLUTIONAL, DEPTHWISE, SCOPES, modules_of, part_of
from mmdet_dab.deploy.int8.quantizers import parts_onnx, quantize_onnx
from mmdet_dab.deploy.metadata import Metadata, Trial
from mmdet_dab.deploy.verify import difference
from mmdet_dab.errors import ConfigError, UserError
from tests.helpers.paths import ROOT

CLASSES = ('say "one"\n', '<other>')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 64), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]


def quiet(text: str) -> None:
    """Says nothing."""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder; annotations follow when there are predictions."""
    path = tmp_path_factory.mktemp('int8')
    random = np.random.default_rng(3)
    for index in range(4):
        coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        coarse.resize((120, 80)).save(path / f'{index}.png')
    return path


@pytest.fixture(scope='module')
def config(folder: Path) -> Config:
    """A tiny detector with data of COCO's form."""
    config = Config.fromfile(ROOT / 'tests/helpers/tiny_model.py')
    config.default_scope = 'mmdet'
    data = dict(
        type='CocoDataset',
        metainfo=dict(classes=CLASSES),
        ann_file=str(folder / 'annotations.json'),
        data_prefix=dict(img=str(folder)),
        pipeline=PIPELINE,
        test_mode=True,
    )
    loader = dict(batch_size=2, num_workers=1, persistent_workers=True, dataset=data)
    config.val_dataloader = config.test_dataloader = loader
    flips = [*PIPELINE[:2], dict(type='RandomFlip', prob=1.0), PIPELINE[2]]
    training = dict(type='RepeatDataset', times=3, dataset={**data, 'pipeline': flips, 'test_mode': False})
    config.train_dataloader = dict(dataset=training)
    config.val_evaluator = dict(type='CocoMetric', ann_file=data['ann_file'], metric='bbox')
    return config


@pytest.fixture(scope='module')
def exported(config: Config, folder: Path) -> Path:
    """A float32 file whose predictions are the ground truth, so that its AP is 1."""
    torch.manual_seed(0)
    model: Any = build(config)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    checkpoint = folder / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), checkpoint)
    out = folder / 'tiny.onnx'
    export(Request(config, checkpoint, out), quiet)
    write_annotations(folder, out)
    return out


def write_annotations(folder: Path, file: Path) -> None:
    """What a file finds, as COCO annotations."""
    images, boxes = [], []
    for path in sorted(folder.glob('*.png')):
        images.append(dict(id=len(images), file_name=path.name, width=120, height=80))
        found = Predictor(file, threads=1)(path, threshold=0.0)
        for (left, top, right, bottom), label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
            width, height = right - left, bottom - top
            box = dict(bbox=[left, top, width, height], area=width * height, iscrowd=0, category_id=label + 1)
            boxes.append(dict(id=len(boxes) + 1, image_id=images[-1]['id'], **box))
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CLASSES)]
    text = json.dumps(dict(images=images, annotations=boxes, categories=categories))
    (folder / 'annotations.json').write_text(text)


def copied(file: Path, folder: Path) -> Path:
    for part in file.parent.glob(f'{file.stem}.*'):
        (folder / part.name).write_bytes(part.read_bytes())
    return folder / file.name


def test_images_are_not_augmented_and_metrics_are_the_ordinary_ones(config: Config, exported: Path):
    """The training pipeline flips every image, and repeats the dataset."""
    detector = choice.ExportedDetector(str(exported), config.model.data_preprocessor)
    images = CalibrationImages(config, detector, 200)
    assert len(images) == 4
    expected = Yardstick(config).loader.dataset[3]
    batch = detector.data_preprocessor(
        dict(inputs=[expected['inputs']], data_samples=[expected['data_samples']]), False
    )
    np.testing.assert_array_equal(images[3]['images'], batch['inputs'].numpy())
    assert images[3]['valid_sizes'].tolist() == [[64, 96]]
    assert len(CalibrationImages(config, detector, 2)) == 2
    measure = Yardstick(config)
    assert measure(exported) == pytest.approx(1, abs=0.002)
    assert (measure.name, measure.images) == ('coco/bbox_mAP', 4)


def test_images_that_are_left_out_are_no_misses(config: Config, exported: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('mmdet_dab.deploy.int8.data.MOST_IMAGES', 2)
    measure = Yardstick(config)
    assert measure.images == 2
    assert measure(exported) == pytest.approx(1, abs=0.002)


def test_what_repeats_and_mixes_is_taken_off():
    def leaf(name: str) -> dict[str, Any]:
        return dict(type='CocoDataset', ann_file=name, pipeline=['flip'])

    several = dict(type='ConcatDataset', datasets=[leaf('a'), dict(type='RepeatDataset', times=2, dataset=leaf('b'))])
    mixed = dict(type='MultiImageMixDataset', pipeline=['mosaic'], dataset=several)
    found = dataset_as_tested(mixed, ['load'])
    assert found['type'] == 'ConcatDataset'
    assert [(each['ann_file'], each['pipeline'], each['test_mode']) for each in found['datasets']] == [
        ('a', ['load'], True),
        ('b', ['load'], True),
    ]


@pytest.mark.parametrize(
    ('module', 'part'),
    [
        ('backbone.layer1.0.conv1', 'backbone'),
        ('neck.convs.0', 'neck'),
        ('encoder.layers.2.self_attention.key', 'encoder'),
        ('encoder.position_scale.layers.0', None),
        ('decoder.layers.0.cross_attention.key_content', 'decoder'),
        ('decoder.positional_query.learned.layers.0', None),
        ('bbox_head.box_branches.0.layers.0', None),
        ('', None),
    ],
)
def test_parts_by_module(module: str, part: str | None):
    assert part_of(module) == part
    assert part_of(module, depthwise=True) == (DEPTHWISE if part in CONVOLUTIONAL else part)


def chain(tmp_path: Path, weights: dict[str, tuple[int, int]], between: str | None = None) -> Path:
    """A file of 1×1 convolutions of four channels in a row: name -> (channels out, in of each group)."""
    random = np.random.default_rng(0)
    inits = [
        onnx.numpy_helper.from_array(4 * random.standard_normal((*shape, 1, 1)).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    nodes, before = [], 'start'
    for name, shape in weights.items():
        nodes.append(onnx.helper.make_node('Conv', [before, name], [f'{name}_out'], name=name, group=4 // shape[1]))
        before = f'{name}_out'
        if between and name != list(weights)[-1]:
            nodes.append(onnx.helper.make_node(between, [before], [f'{name}_after'], name=f'{name}_{between}'))
            before = f'{name}_after'
    for node in nodes:
        module = 'bbox_head.x' if node.name == 'other' else f'backbone.{node.name}'
        node.metadata_props.add(key=SCOPES, value=str(['', f'detector.{module}']))
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4, 8, 8]) for name in ('start', before)
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, 'chain', ends[:1], ends[1:], inits),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid('', 18)],
    )
    onnx.save(model, tmp_path / 'chain.onnx')
    return tmp_path / 'chain.onnx'


def test_depthwise_convolutions_are_a_part(tmp_path: Path):
    file = chain(tmp_path, {'full': (4, 4), 'single': (4, 1), 'pairs': (4, 2), 'other': (4, 4)})
    assert parts_onnx(onnx.load(file)) == {'full': 'backbone', 'single': DEPTHWISE, 'pairs': 'backbone'}
    assert choice.choices(file) == [('backbone', DEPTHWISE), ('backbone',)]


def test_depthwise_convolutions_in_float_read_what_the_activation_made(tmp_path: Path):
    """Half of what goes into the ReLU is negative; without it, the results would be others."""
    file, out = chain(tmp_path, {'full': (4, 4), 'single': (4, 1), 'last': (4, 4)}, 'Relu'), tmp_path / 'int8.onnx'
    images = [{'start': np.random.default_rng(1).standard_normal((1, 4, 8, 8), dtype=np.float32)}]
    quantize_onnx(file, out, ('backbone',), images)
    expected, found = (onnxruntime.InferenceSession(path).run(None, images[0])[0] for path in (file, out))
    assert 0 < np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def quantized_parts(file: Path, out: Path) -> set[str | None]:
    """Parts with a product whose first input was quantized."""
    modules = modules_of(onnx.load(file))
    model = onnx.load(out)
    integers = {node.output[0] for node in model.graph.node if node.op_type == 'DequantizeLinear'}
    products = [node for node in model.graph.node if node.op_type in ('Conv', 'MatMul', 'Gemm')]
    return {part_of(modules.get(node.name, '')) for node in products if node.input[0] in integers}


def test_onnx_runtime_quantizes_the_chosen_parts(
    config: Config, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(choice, 'KEPT', 0.0)
    file = copied(exported, tmp_path)
    metadata = int8.quantize(config, file, 3, quiet)
    assert quantized_parts(exported, file) == {'backbone', 'neck', 'encoder', 'decoder'}
    assert load_backend(file).metadata == metadata
    assert (metadata.precision, metadata.float_parts, metadata.int8_metric) == ('int8+float32', (), 'coco/bbox_mAP')
    float_trial, trial = metadata.int8_trials
    assert float_trial[:2] == ((), 'float32')
    assert float_trial.metric == pytest.approx(1, abs=0.002)
    assert trial.int8_parts == ('backbone', 'neck', 'encoder', 'decoder')
    assert trial.metric == Yardstick(config)(file)
    assert file.stat().st_size < 0.6 * exported.stat().st_size
    image = sorted(exported.parent.glob('*.png'))[0]
    found, expected = (Predictor(each, threads=1)(image, threshold=0) for each in (file, exported))
    assert 0 < np.abs(found.scores - expected.scores).max() < 0.05


def test_less_becomes_int8_until_the_metric_is_kept(
    config: Config, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Figures by hand: the float file 0.5, everything 0.497 (99.4 %), without the decoder 0.498 (99.6 %)."""
    figures = iter([0.5, 0.497, 0.498])
    monkeypatch.setattr(Yardstick, '__call__', lambda self, file: next(figures))
    monkeypatch.setattr(Yardstick, 'name', 'coco/bbox_mAP', raising=False)
    monkeypatch.setitem(choice.QUANTIZERS, '.onnx', lambda file, out, parts, images: copied(file, out.parent))
    metadata = int8.quantize(config, copied(exported, tmp_path), 3, quiet)
    assert metadata.float_parts == ('decoder',)
    assert [trial.metric for trial in metadata.int8_trials] == [0.5, 0.497, 0.498]
    assert Metadata.from_json(metadata.to_json(), 'x') == metadata
    assert isinstance(metadata.int8_trials[0], Trial)


def test_the_float_file_stays_where_int8_loses(
    config: Config, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    figures = iter([0.5, 0.3, 0.31, 0.497])
    monkeypatch.setattr(Yardstick, '__call__', lambda self, file: next(figures))
    monkeypatch.setitem(choice.QUANTIZERS, '.onnx', lambda file, out, parts, images: copied(file, out.parent))
    file = copied(exported, tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError) as error:
        int8.quantize(config, file, 3, quiet)
    for figure in ('99.4%', '0.500', '0.497', '99.5%'):
        assert figure in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert file.read_bytes() == exported.read_bytes()


def test_requests_that_cannot_be_met(config: Config, exported: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r'\.pt2'):
        int8.check(Path('model.pt2'))
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'mmdet_dab\[int8\]'):
        int8.check(Path('model.xml'))
    monkeypatch.undo()
    without = Config({**config.to_dict(), 'train_dataloader': None})
    with pytest.raises(ConfigError, match='train_dataloader'):
        int8.quantize(without, exported, 3, quiet)


@pytest.fixture(scope='module')
def float_xml(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 file for OpenVINO."""
    for package in ('openvino', 'nncf'):
        pytest.importorskip(package, reason='needs openvino and nncf, of the extra int8')
    file = tmp_path_factory.mktemp('openvino') / 'tiny.xml'
    onnx_to_openvino(exported, file, load_backend(exported).metadata)
    return file


def test_graphs_for_fixed_sizes_compute_the_same(exported: Path, float_xml: Path, monkeypatch: pytest.MonkeyPatch):
    """All images of the config become 96×64, so that batches without padding get a graph of their own."""
    backend, expected = load_backend(float_xml, threads=1), load_backend(exported, threads=1)
    monkeypatch.setattr(backend, 'GRAPHS', 2)
    random = np.random.default_rng(2)
    for batch, valid in ((2, (64, 96)), (3, (64, 96)), (2, (50, 70))):
        images = random.standard_normal((batch, 3, 64, 96), dtype=np.float32)
        valid_sizes = np.array([(64, 96)] * (batch - 1) + [valid])
        images[-1, :, valid[0] :] = 0
        images[-1, :, :, valid[1] :] = 0
        found = difference(expected.run(images, valid_sizes), backend.run(images, valid_sizes), (64, 96))
        assert max(found.score, found.farthest) < 1e-5
        assert not found.unmatched
    assert list(backend.fixed) == [(2, 3, 64, 96), (3, 3, 64, 96)]


def test_a_damaged_openvino_file(float_xml: Path, tmp_path: Path):
    """The message says what is wrong, where OpenVINO first says where in its code that was found."""
    file = copied(float_xml, tmp_path)
    for part in (file.with_suffix('.bin'), file):  # the first is the one that is found
        part.write_bytes(part.read_bytes()[:-1000])
        with pytest.raises(UserError, match=re.escape(file.name)) as error:
            load_backend(file)
        assert '.cpp' not in str(error.value)


def test_openvino_quantizes_the_chosen_parts(
    config: Config, float_xml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import openvino

    monkeypatch.setattr(choice, 'KEPT', 0.0)
    monkeypatch.setattr(choice, 'CHOICES', (('backbone', 'encoder'),))
    monkeypatch.setattr(choice, 'WORTH', 0.0)  # so that bfloat16 is tried
    file = copied(float_xml, tmp_path)
    size = file.with_suffix('.bin').stat().st_size
    metadata = int8.quantize(config, file, 3, quiet)
    assert (metadata.precision, metadata.float_parts) == ('int8+bfloat16', ('neck', 'decoder'))
    assert load_backend(file).metadata == metadata
    model = openvino.Core().read_model(file)
    modules = json.loads(model.get_rt_info([int8.parts.KEY]).astype(str))
    products = [node for node in model.get_ops() if node.get_type_name() in ('MatMul', 'Convolution')]
    quantized = {
        part_of(modules.get(node.friendly_name.split('/')[0], ''))
        for node in products
        if node.input_value(0).get_node().get_type_name() == 'FakeQuantize'
    }
    assert quantized == {'backbone', 'encoder'}
    assert file.with_suffix('.bin').stat().st_size < 0.9 * size
    assert metadata.int8_trials[-1].metric > 0.3
