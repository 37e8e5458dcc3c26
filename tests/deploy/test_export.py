"""An exported file computes what the detector computes: any batch, any size, any padding."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmdet_dab import build
from mmdet_dab.deploy import Detections, Predictor, exporter
from mmdet_dab.deploy.backends import load_backend
from mmdet_dab.deploy.exporter import Request, export
from mmdet_dab.deploy.metadata import KEY, Metadata
from mmdet_dab.deploy.onnx_graph import drop_nan_guards
from mmdet_dab.deploy.preprocessing import prepare, read_image
from mmdet_dab.deploy.program import DetectionProgram
from mmdet_dab.deploy.request import check_target, unfinished
from mmdet_dab.deploy.verify import CANVASES, Difference, batches, compared, difference, ranking_part, refusal
from mmdet_dab.errors import ConfigError, UserError
from mmdet_dab.models import EncoderQueryGenerator
from tests.helpers.commands import Commands, call
from tests.helpers.paths import ROOT
from tests.helpers.tiny_task import CLASSES as TASK_CLASSES
from tests.helpers.tiny_task import Task, make_task

CLASSES = ('say "hi"\n', '<b>')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]


def tiny_config() -> Config:
    """A tiny detector whose test pipeline reads files."""
    config = Config.fromfile(ROOT / 'tests/helpers/tiny_model.py')
    config.default_scope = 'mmdet'
    config.test_dataloader = dict(dataset=dict(type='CocoDataset', metainfo=dict(classes=CLASSES), pipeline=PIPELINE))
    return config


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that make scores and boxes differ."""
    torch.manual_seed(0)
    model: Any = build(tiny_config())
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), path)
    return path


@pytest.fixture(scope='module')
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('export') / 'tiny.onnx'
    differences = export(Request(tiny_config(), checkpoint, out), lambda text: None)
    assert {found.batch for found in differences} == {1, 2, 5}
    assert max(found.score for found in differences) < 1e-5
    assert max(found.farthest for found in differences) < 1e-5
    return out


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    """Runs ``mmdet-dab`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capfd)


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(5)
    paths = []
    for index, size in enumerate(((90, 160, 3), (200, 110, 3), (64, 64, 3))):
        paths.append(tmp_path / f'{index}.png')
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(paths[-1])
    return paths


def apart(expected: Any, found: Any, path: Path) -> tuple[float, float, int]:
    """Largest difference of scores and boxes (in parts of the image), and predictions without a counterpart."""
    height, width = np.asarray(Image.open(path)).shape[:2]
    unit = np.array([width, height, width, height])
    one = (expected.scores[None], expected.labels[None], expected.boxes[None] / unit)
    other = (found.scores[None], found.labels[None], found.boxes[None] / unit)
    result = difference(one, other, (height, width))
    return result.score, result.farthest, result.unmatched


def test_attention_is_not_searched_for_what_is_not_there(exported: Path):
    """The guard against queries that see nothing is gone where the mask is that of padding."""
    nodes = onnx.load(exported).graph.node
    assert sum(node.op_type == 'Softmax' for node in nodes) > 2
    assert not any(node.op_type == 'IsNaN' for node in nodes)


@pytest.mark.parametrize(('rows', 'dropped'), [(1, 1), (7, 0)])
def test_masks_with_rows_of_their_own_keep_the_guard(rows: int, dropped: int):
    def value(name: str, *shape: int) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))

    logits, mask = value('logits', 1, 2, 7, 9), value('mask', 1, 1, rows, 9)
    tape = ir.tape.Tape()
    weights = tape.op('Softmax', [tape.op('Add', [logits, mask])])
    guarded = tape.op('Where', [tape.op('IsNaN', [weights]), mask, weights])
    out = tape.op('Identity', [guarded])
    graph = ir.Graph([logits, mask], [out], nodes=tape.nodes, opset_imports={'': 18})
    assert drop_nan_guards(ir.Model(graph, ir_version=10)) == dropped
    kinds = [node.op_type for node in graph]
    assert kinds == ['Add', 'Softmax', *([] if dropped else ['IsNaN', 'Where']), 'Identity']


def test_same_detections_as_mmdets_inference(exported: Path, checkpoint: Path, photographs: list[Path]):
    model = build(tiny_config(), checkpoint)
    predictor = Predictor(exported, threads=1)
    for path in photographs:
        theirs = inference_detector(model, str(path)).pred_instances
        expected = Detections(theirs.bboxes.numpy(), theirs.scores.numpy(), theirs.labels.numpy(), ())
        found = predictor(path, threshold=0)
        score, box, unmatched = apart(expected, found, path)
        assert score < 1e-5
        assert box < 1e-5
        assert not unmatched
        assert found.names == tuple(CLASSES[label] for label in found.labels)


def test_same_detections_in_a_padded_batch(exported: Path, checkpoint: Path, photographs: list[Path]):
    """As the detector's on the same batch: group norm in the neck of the small model sees the padding."""
    predictor = Predictor(exported, threads=1)
    batch = prepare([read_image(path) for path in photographs], predictor.metadata)
    assert len({tuple(size) for size in batch.valid_sizes.tolist()}) == 3
    program = DetectionProgram(build(tiny_config(), checkpoint))
    with torch.no_grad():
        scores, _, boxes = program(torch.from_numpy(batch.images), torch.from_numpy(batch.valid_sizes))
    for row, (path, found) in enumerate(zip(photographs, predictor(photographs, threshold=0), strict=True)):
        height, width = np.asarray(Image.open(path)).shape[:2]
        np.testing.assert_allclose(found.scores, scores[row], rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.boxes[0] / [width, height, width, height], boxes[row, 0], rtol=0, atol=1e-5)


def test_only_the_last_layer_answers(checkpoint: Path):
    """The states of three layers come out of the decoder; an exported file needs no class of the first two."""
    model: Any = build(tiny_config(), checkpoint)
    seen = []
    model.bbox_head.class_branch.register_forward_hook(lambda part, given, found: seen.append(found.shape[0]))
    images, valid = next(batches())
    with torch.no_grad():
        DetectionProgram(model)(torch.from_numpy(images), torch.from_numpy(valid))
    assert len(model.decoder.layers) > 1
    assert seen == [1]


def test_threshold_and_forms_of_input(exported: Path, photographs: list[Path]):
    predictor = Predictor(exported, threads=1)
    everything = predictor(str(photographs[0]), threshold=0)
    middle = float(np.median(everything.scores))
    some = predictor(photographs[0], threshold=middle)
    assert 0 < len(some) < len(everything)
    assert some.scores.min() >= middle
    pixels = np.asarray(Image.open(photographs[0]))[..., ::-1]
    np.testing.assert_array_equal(predictor(pixels, threshold=0).boxes, everything.boxes)
    assert predictor([], threshold=0) == []
    stream = list(predictor.stream(photographs, batch_size=2, threshold=0))
    assert [len(found) for found in stream] == [len(found) for found in predictor(photographs, threshold=0)]


def test_the_file_says_what_is_needed_to_use_it(exported: Path, checkpoint: Path):
    metadata = load_backend(exported).metadata
    assert metadata.classes == CLASSES
    assert (metadata.resize, metadata.scale, metadata.channels) == ('keep ratio', (128, 96), 'rgb')
    assert metadata.mean == pytest.approx((123.675, 116.28, 103.53))
    assert (metadata.input, metadata.precision, metadata.max_detections) == ('float32', 'float32', 10)
    assert metadata.config == 'tiny_model.py'
    assert len(metadata.weights_sha256) == 64
    assert len(metadata.palette) == 2


@pytest.mark.slow
def test_a_file_of_torch_that_takes_pixels(checkpoint: Path, tmp_path: Path, exported: Path, photographs: list[Path]):
    """Two other forms in one: the format, and the input."""
    out = tmp_path / 'tiny.pt2'
    export(Request(tiny_config(), checkpoint, out, input='uint8'), lambda text: None)
    found, expected = (Predictor(path, threads=1, trusted=True)(photographs, threshold=0) for path in (out, exported))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('suffix', 'precision'),
    [
        ('.onnx', 'float16'),
        ('.xml', 'float32'),
        ('.xml', 'float16'),
        ('.xml', 'bfloat16'),
        ('.pt2', 'float16'),
        ('.pt2', 'bfloat16'),
    ],
)
def test_every_format_in_every_precision(checkpoint: Path, tmp_path: Path, suffix: str, precision: str):
    """Its differences are within the tolerance of the precision, and it says what it is."""
    out = tmp_path / f'tiny{suffix}'
    try:
        check_target(out, precision)
    except UserError as error:  # no openvino, or no bfloat16 in this processor
        pytest.skip(str(error))
    differences = export(Request(tiny_config(), checkpoint, out, precision=precision), lambda text: None)
    assert len(differences) == 9
    assert refusal(differences, precision) is None
    metadata = load_backend(out, trusted=True).metadata
    assert metadata.precision == precision
    assert metadata.classes == CLASSES
    assert {path.suffix for path in tmp_path.iterdir()} == {suffix, *(('.bin',) if suffix == '.xml' else ())}


def test_a_file_of_other_weights_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, exported: Path, checkpoint: Path, tmp_path: Path
):
    """Nor does it take the place of a file that is there."""
    monkeypatch.setattr(exporter, 'traced', lambda program, kind: None)
    monkeypatch.setitem(exporter.WRITERS, '.onnx', lambda _, path, __: path.write_bytes(exported.read_bytes()))
    torch.manual_seed(1)
    other: Any = build(tiny_config())
    monkeypatch.setattr(exporter, 'build', lambda *_: other)
    out = tmp_path / 'wrong.onnx'
    for before in ([], [out]):
        with pytest.raises(UserError, match=r'wrong\.onnx'):
            export(Request(tiny_config(), checkpoint, out), lambda text: None)
        assert list(tmp_path.iterdir()) == before
        out.write_text('of before')
    assert out.read_text() == 'of before'


@pytest.mark.parametrize(
    ('name', 'precision'),
    [('wrong.onnx', 'float16'), ('wrong.xml', 'float32'), ('wrong.xml', 'float16'), ('wrong.pt2', 'bfloat16')],
)
def test_a_file_that_differs_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path, name: str, precision: str
):
    """Whatever the format, of which one has two files."""

    def write(_: Any, path: Path, __: Metadata) -> None:
        path.write_text('a file')
        path.with_suffix('.bin').write_text('its weights')

    monkeypatch.setattr(exporter, 'check_target', lambda *_: None)
    monkeypatch.setattr(exporter, 'traced', lambda program, kind: None)
    monkeypatch.setitem(exporter.WRITERS, Path(name).suffix, write)
    monkeypatch.setattr(exporter, 'compared', lambda *_: [Difference(2, 96, 128, 0.4, 0.0, 0.0, 0)])
    with pytest.raises(UserError, match=f'96×128.*{"please report" if precision == "float32" else precision}'):
        export(Request(tiny_config(), checkpoint, tmp_path / name, precision=precision), lambda text: None)
    assert not list(tmp_path.iterdir())


def test_the_table_of_differences_has_every_batch_and_size(exported: Path, checkpoint: Path):
    model = build(tiny_config(), checkpoint)
    found = list(compared(model, exported, load_backend(exported).metadata))
    assert {(one.batch, one.height, one.width) for one in found} == {
        (batch, *canvas) for batch in (1, 2, 5) for canvas in CANVASES
    }
    assert refusal(found, 'float32') is None


def test_a_refusal_names_the_part_that_ranks_cells():
    """In two stages no size needs to be baked in for a file to differ."""
    model = nn.ModuleDict({'query_generator': EncoderQueryGenerator(num_classes=3, num_queries=5, embed_dims=8)})
    part = ranking_part(model)
    assert part == 'query_generator (EncoderQueryGenerator)'
    assert part in refusal([Difference(2, 96, 128, 0.4, 0.0, 0.0, 0)], 'float32', part)
    assert ranking_part(nn.ModuleDict()) == ''


@pytest.mark.parametrize(('number', 'apart', 'equal'), [(50, 9e-5, True), (50, 1.1e-4, False), (49, 9e-5, False)])
def test_one_box_in_fifty_may_be_ten_times_as_far_away(number: int, apart: float, equal: bool):
    scores = np.linspace(0.9, 0.1, number + 1, dtype=np.float32)[None]
    expected = (scores, np.zeros(scores.shape, int), np.zeros((1, number + 1, 4)))
    boxes = expected[2].copy()
    boxes[0, 7] += apart
    found = difference(expected, (scores, expected[1], boxes), (96, 128))
    assert found.farthest == pytest.approx(apart)
    assert found.box == (0 if number == 50 else pytest.approx(apart))
    assert (refusal([found], 'float32') is None) == equal


def test_weights_of_half_the_size(exported: Path, checkpoint: Path, tmp_path: Path):
    path = tmp_path / 'half.onnx'
    path.write_bytes(exported.read_bytes())
    exporter.halve_weights(path)
    weights = sum(tensor.ByteSize() for tensor in onnx.load(exported).graph.initializer)
    assert path.stat().st_size < exported.stat().st_size - 0.4 * weights
    metadata = replace(load_backend(exported).metadata, precision='float16')
    found = list(compared(build(tiny_config(), checkpoint), path, metadata))
    assert refusal(found, 'float16') is None
    assert refusal(found, 'float32') is not None


@pytest.fixture
def pictures_of_several_sizes(tmp_path: Path) -> Task:
    """A task whose images are cut to different heights and widths."""
    task = make_task(tmp_path)
    annotations = task.data_root / 'annotations' / 'all.json'
    content = json.loads(annotations.read_text())
    for number, entry in enumerate(content['images']):
        path = task.data_root / 'images' / entry['file_name']
        image = Image.open(path).crop((0, 0, 64 - 2 * number, 44 + 4 * number))
        image.save(path)
        entry['width'], entry['height'] = image.size
    annotations.write_text(json.dumps(content))
    return task


@pytest.fixture
def renamed(exported: Path, tmp_path: Path) -> Path:
    """The exported file with the names of the classes of the task."""
    model = onnx.load(exported)
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    entry.value = json.dumps(json.loads(entry.value) | dict(classes=TASK_CLASSES))
    onnx.save(model, tmp_path / 'renamed.onnx')
    return tmp_path / 'renamed.onnx'


@pytest.fixture
def renamed_checkpoint(checkpoint: Path, tmp_path: Path) -> Path:
    """The same of the checkpoint."""
    content = torch.load(checkpoint, weights_only=True) | dict(meta=dict(dataset_meta=dict(classes=TASK_CLASSES)))
    torch.save(content, tmp_path / 'renamed.pth')
    return tmp_path / 'renamed.pth'


@pytest.mark.parametrize('batch', [1, 2, 8])
def test_what_ships_is_evaluated_as_the_detector_is(
    pictures_of_several_sizes: Task, renamed: Path, renamed_checkpoint: Path, tmp_path: Path, batch: int
):
    """All predictions of the ordinary test loop are the same at every batch size, and so is every AP of them.

    The same with trained weights: docs/deploy.md.
    """
    task = pictures_of_several_sizes
    options = ('--work-dir', tmp_path / 'tested', *task.options, f'test_dataloader.batch_size={batch}')
    call('test', task.config, renamed_checkpoint, '--out', tmp_path / 'eager.pkl', *options)
    call('test', task.config, '--model', renamed, '--out', tmp_path / 'file.pkl', *options)
    eager, found = (mmengine.load(tmp_path / f'{name}.pkl') for name in ('eager', 'file'))
    assert len(eager) == len(found) == 6
    for one, other in zip(eager, found, strict=True):
        assert one['img_id'] == other['img_id']
        height, width = one['ori_shape']
        unit = np.array([width, height, width, height])
        pair = [
            (part['scores'].numpy()[None], part['labels'].numpy()[None], part['bboxes'].numpy()[None] / unit)
            for part in (one['pred_instances'], other['pred_instances'])
        ]
        result = difference(*pair, (height, width))
        assert result.score < 1e-5
        assert result.farthest < 1e-5
        assert not result.unmatched


def test_requests_that_cannot_be_met(checkpoint: Path, tmp_path: Path):
    def refused(name: str, **values: Any) -> str:
        with pytest.raises(UserError) as error:
            export(Request(tiny_config(), checkpoint, tmp_path / name, **values), lambda text: None)
        return str(error.value)

    assert '.onnx' in refused('model.tflite')
    assert 'float16' in refused('model.onnx', precision='bfloat16')
    assert 'float32' in refused('model.pt2', precision='int4')
    assert 'folder' in refused('nowhere/model.onnx')
    (tmp_path / 'folder.onnx').mkdir()
    assert 'folder.onnx' in refused('folder.onnx')
    for threshold in (-0.1, 1.5, float('nan')):
        assert str(threshold) in refused('model.pt2', threshold=threshold)
    config = tiny_config()
    config.test_dataloader.dataset.pipeline.insert(1, dict(type='RandomFlip', prob=1.0))
    with pytest.raises(ConfigError, match='RandomFlip'):
        export(Request(config, checkpoint, tmp_path / 'model.onnx'), lambda text: None)


def test_a_missing_package_is_named_with_the_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    installed = importlib.util.find_spec
    for suffix, module, extra in (('.onnx', 'onnxscript', 'export,runtime'), ('.xml', 'openvino', 'export,openvino')):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name, m=module: None if name == m else installed(name))
        with pytest.raises(UserError, match=re.escape(f"{module} is not installed: pip install 'mmdet_dab[{extra}]'")):
            check_target(tmp_path / f'model{suffix}')


def test_the_command_refuses_before_it_loads_anything(command: Commands, checkpoint: Path, tmp_path: Path):
    config = ROOT / 'tests/helpers/tiny_model.py'

    def refused(*arguments: object, **options: Any) -> str:
        return command.error('export', config, *arguments, **options)

    assert 'nowhere' in refused(checkpoint, '--out', 'nowhere/model.onnx')
    assert '.tflite' in refused(checkpoint, '--out', 'model.tflite')
    assert 'bfloat16' in refused(checkpoint, '--out', 'model.onnx', '--precision', 'bfloat16')
    assert 'missing.pth' in refused('missing.pth', '--out', 'model.onnx')
    assert '--int8' in refused(checkpoint, '--out', 'model.onnx', '--calibrate', 5)
    assert '--calibrate 0' in refused(checkpoint, '--out', 'model.onnx', '--int8', '--calibrate', 0)
    assert '--precision' in refused(checkpoint, '--out', 'model.xml', '--int8', '--precision', 'bfloat16')
    (tmp_path / 'there.onnx').write_text('')
    assert '--overwrite' in refused(checkpoint, '--out', 'there.onnx')
    (tmp_path / 'weights.bin').write_text('of another file')
    assert 'weights.bin' in refused(checkpoint, '--out', 'weights.xml')
    (tmp_path / 'shelf.bin').mkdir()
    assert 'shelf.bin' in refused(checkpoint, '--out', 'shelf.xml', '--overwrite')


def test_a_checkpoint_of_another_model_is_refused(command: Commands, tmp_path: Path):
    other: Any = build(tiny_config())
    torch.save(dict(state_dict={f'other.{key}': value for key, value in other.state_dict().items()}), 'other.pth')
    config = ROOT / 'tests/helpers/tiny_model.py'
    assert 'other.pth' in command.error('export', config, 'other.pth', '--out', 'model.onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['other.pth']


def test_files_that_cannot_be_used(exported: Path, tmp_path: Path):
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as error:
            Predictor(path)
        return str(error.value)

    content = exported.read_bytes()
    for name, data in (('empty.onnx', b''), ('cut.onnx', content[: len(content) // 2]), ('text.onnx', b'hello')):
        (tmp_path / name).write_bytes(data)
        assert name in refused(tmp_path / name)
    assert 'missing.onnx' in refused(tmp_path / 'missing.onnx')
    assert '.pth' in refused(tmp_path / 'weights.pth')
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'bare.onnx')
    assert 'export' in refused(tmp_path / 'bare.onnx')
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, '{"version": 1}'
    onnx.save(model, tmp_path / 'part.onnx')
    assert 'part.onnx' in refused(tmp_path / 'part.onnx')
    entry.value = json.dumps(dict(version=99))
    onnx.save(model, tmp_path / 'later.onnx')
    assert '99' in refused(tmp_path / 'later.onnx')


def test_metadata_comes_back_from_its_text(exported: Path):
    metadata = load_backend(exported).metadata
    assert metadata.to_json().isascii()
    assert Metadata.from_json(metadata.to_json(), 'x') == metadata


def test_what_a_killed_export_leaves_says_what_it_was(tmp_path: Path):
    """In the folder of the file, hidden, and also for the longest name that a file can have."""
    for name in ('cells.onnx', 'x' * 250 + '.xml'):
        with unfinished(tmp_path / name) as folder:
            assert Path(folder).parent == tmp_path
            assert Path(folder).name.startswith(f'.{name[:5]}')
        assert not list(tmp_path.iterdir())
