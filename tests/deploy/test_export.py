"""An exported file computes what the detector computes: any batch, any size, any padding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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
from mmdet_dab.deploy.preprocessing import prepare, read_image
from mmdet_dab.deploy.program import DetectionProgram
from mmdet_dab.deploy.verify import difference
from mmdet_dab.errors import ConfigError, UserError
from tests.helpers.paths import ROOT

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
    assert max(found.box for found in differences) < 1e-5
    return out


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
    return result.score, result.box, result.unmatched


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


class Reversed(nn.Module):
    """A program that is right for a batch of two only."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: torch.Tensor, valid_sizes: torch.Tensor) -> Any:
        scores, labels, boxes = self.program(images, valid_sizes)
        return (scores, labels, boxes) if len(images) == 2 else (scores, labels, boxes.flip(1))


def test_a_file_that_differs_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, exported: Path, checkpoint: Path, tmp_path: Path
):
    monkeypatch.setattr(exporter, 'traced', lambda program, kind: None)
    monkeypatch.setitem(exporter.WRITERS, '.onnx', lambda _, path, __: path.write_bytes(exported.read_bytes()))
    monkeypatch.setattr(exporter, 'DetectionProgram', lambda model: Held(model))
    out = tmp_path / 'wrong.onnx'
    with pytest.raises(UserError, match=r'wrong\.onnx'):
        export(Request(tiny_config(), checkpoint, out), lambda text: None)
    assert list(tmp_path.iterdir()) == []


class Held(Reversed):
    """See :class:`Reversed`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(DetectionProgram(model))
        self.selection = self.program.selection


def test_requests_that_cannot_be_met(checkpoint: Path, tmp_path: Path):
    def refused(name: str, **values: Any) -> str:
        with pytest.raises(UserError) as error:
            export(Request(tiny_config(), checkpoint, tmp_path / name, **values), lambda text: None)
        return str(error.value)

    assert '.onnx' in refused('model.tflite')
    assert 'float32' in refused('model.onnx', precision='float16')
    assert 'folder' in refused('nowhere/model.onnx')
    config = tiny_config()
    config.test_dataloader.dataset.pipeline.insert(1, dict(type='RandomFlip', prob=1.0))
    with pytest.raises(ConfigError, match='RandomFlip'):
        export(Request(config, checkpoint, tmp_path / 'model.onnx'), lambda text: None)


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
