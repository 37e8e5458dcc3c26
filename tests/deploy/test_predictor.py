"""The runtime on a file made by hand: what it returns, what it refuses, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmdet_dab import cli
from mmdet_dab.deploy import Predictor
from mmdet_dab.deploy.metadata import KEY
from mmdet_dab.errors import DataError, UserError
from tests.helpers.hand_made import CLASSES, METADATA, write_hand_made

HERE = Path(__file__).resolve()


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hand_made(tmp_path_factory.mktemp('model') / 'hand_made.onnx')


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / 'shot.png'), np.full((100, 200, 3), 200, np.uint8))
    return tmp_path / 'shot.png'


def refused(path: Path, **more: object) -> str:
    with pytest.raises(UserError) as error:
        Predictor(path, **more)
    return str(error.value)


def test_boxes_in_pixels_of_the_image(model: Path, shot: Path):
    """Of 200 × 100 pixels: the first box is (1/4, 1/2, 3/4, 1) of them.

    The image is fitted into 213 × 128, by a factor of 1.065, to 213 × 107 pixels (106.5, rounded up). The second box
    ends at 107 / 213 of the width.
    """
    found = Predictor(model)(shot, threshold=0)
    np.testing.assert_allclose(found.boxes, [[50, 50, 150, 100], [0, 0, 200 * 107 / 213, 100]], rtol=1e-6)
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.2]))
    assert found.labels.tolist() == [1, 0]
    assert found.names == (CLASSES[1], CLASSES[0])
    assert len(Predictor(model)(shot)) == 1, 'the threshold of the file is 0.3'


def test_a_batch_of_several_sizes(model: Path, shot: Path):
    tall = np.zeros((300, 60, 3), np.uint8)
    wide, high = Predictor(model)([shot, tall], threshold=0)
    np.testing.assert_allclose(high.boxes[0], [15, 150, 45, 300])
    np.testing.assert_allclose(wide.boxes[0], [50, 50, 150, 100])


def test_drawn_on_the_image(model: Path, shot: Path):
    predictor = Predictor(model)
    drawn = predictor.draw(shot, predictor(shot))
    assert (drawn[75, 50] == METADATA.palette[1][::-1]).all(), 'the left side of the box'
    assert (drawn[20, 20] == 200).all()
    assert (cv2.imread(str(shot)) == 200).all()


def test_neither_torch_nor_mmdet_is_imported(model: Path, shot: Path):
    """Also not while the console command runs."""
    program = f"""
import sys
from mmdet_dab.deploy import Predictor
from mmdet_dab.deploy.metadata import KEY
at_import = set(sys.modules)
from mmdet_dab.cli import main
assert main(['run', {str(model)!r}, {str(shot)!r}, '--out', {str(shot.parent / 'out')!r}]) == 0
for name in ('torch', 'mmdet', 'mmcv', 'mmengine', 'matplotlib', 'scipy'):
    assert name not in sys.modules, name
for name in ('onnxruntime', 'openvino', 'PIL.ImageFont'):
    assert name not in at_import, name
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '1 image → ' in done.stdout


def test_the_command_writes_what_is_asked_for(model: Path, shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'broken.jpg').write_bytes(b'')
    assert cli.main(['run', str(model), '.', '--out', 'out', '--format', 'coco', '--threshold', '0']) == 1
    found = json.loads(Path('out/detections.coco.json').read_text())
    assert [row['bbox'] for row in found] == [[50, 50, 100, 50], [0, 0, 100.47, 100]]
    assert Path('out/images/shot.png').is_file()
    assert cli.main(['run', str(model), 'shot.png', '--out', 'plain', '--no-draw']) == 0
    assert [path.name for path in Path('plain').iterdir()] == ['detections.json']


def test_zero_images_and_an_empty_batch_are_refused(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for arguments in (['empty'], ['gone.png'], ['.', '--batch-size', '0'], ['.', '--threads', '0']):
        assert cli.main(['run', str(model), *arguments]) == 2
        said = capfd.readouterr().err.splitlines()
        assert len(said) == 1
        assert arguments[-2] in said[0] if len(arguments) > 1 else arguments[0] in said[0]
    assert not (tmp_path / 'outputs').exists(), 'refused before work starts'
    assert Predictor(model)([]) == []


def test_a_size_that_the_file_refuses(tmp_path: Path, shot: Path, capfd: pytest.CaptureFixture[str]):
    """Named with the size; of several images, those that fit are done."""
    path = write_hand_made(tmp_path / 'fixed.onnx', replace(METADATA, resize='none'), height=100)
    assert len(Predictor(path)(shot)) == 1
    with pytest.raises(DataError, match='30 × 130'):
        Predictor(path)(np.zeros((130, 30, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'tall.png'), np.zeros((130, 30, 3), np.uint8))
    given = [
        'run',
        str(path),
        str(tmp_path / 'tall.png'),
        str(shot),
        '--out',
        str(tmp_path / 'out'),
        '--batch-size',
        '2',
    ]
    assert cli.main(given) == 1
    assert 'tall.png' in capfd.readouterr().err
    assert [row['file'] for row in json.loads((tmp_path / 'out/detections.json').read_text())] == ['shot.png']


def test_files_that_are_no_exported_detector(model: Path, tmp_path: Path):
    content = model.read_bytes()
    for name, data in (('empty.onnx', b''), ('cut.onnx', content[: len(content) // 2]), ('text.onnx', b'hello')):
        (tmp_path / name).write_bytes(data)
        assert name in refused(tmp_path / name)
    assert 'mmdet-dab export' in refused(write_hand_made(tmp_path / 'bare.onnx', metadata=None))
    (tmp_path / 'shelf.onnx').mkdir()
    assert 'folder' in refused(tmp_path / 'shelf.onnx')


@pytest.mark.parametrize('content', ['', 'hello', '<?xml version="1.0"?>\n<html/>', 'ONNX'])
def test_openvino_is_given_its_own_format_only(
    model: Path, tmp_path: Path, content: str, capfd: pytest.CaptureFixture[str]
):
    """Whatever the ending, it reads what it knows by its content, and prints what others miss."""
    pytest.importorskip('openvino')
    (tmp_path / 'any.xml').write_bytes(model.read_bytes() if content == 'ONNX' else content.encode())
    (tmp_path / 'any.bin').write_bytes(b'')
    assert 'any.xml: not an OpenVINO file' in refused(tmp_path / 'any.xml')
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('classes', []),
        ('classes', 'ab'),
        ('classes', [1, 2]),
        ('palette', [[1, 2, 3]]),
        ('palette', [[1, 2, 300], [1, 2, 3]]),
        ('resize', 'shrink'),
        ('scale', [10**9, 10**9]),
        ('scale', [0, 100]),
        ('scale', ['a', 'b']),
        ('mean', [1, 2]),
        ('std', [1, 0, 1]),
        ('std', None),
        ('channels', 'xyz'),
        ('pad_divisor', 0),
        ('input', 'float64'),
        ('threshold', '0.3'),
        ('version', 'new'),
    ],
)
def test_metadata_that_no_export_writes(model: Path, tmp_path: Path, key: str, value: object):
    changed = onnx.load(model)
    facts = json.loads(METADATA.to_json())
    helper.set_model_props(changed, {KEY: json.dumps(facts | {key: value})})
    onnx.save(changed, tmp_path / 'odd.onnx')
    assert 'odd.onnx' in refused(tmp_path / 'odd.onnx')


def test_more_classes_predicted_than_named(tmp_path: Path, shot: Path):
    facts = replace(METADATA, classes=('a',), palette=((1, 2, 3),))
    with pytest.raises(DataError, match='1'):
        Predictor(write_hand_made(tmp_path / 'few.onnx', facts))(shot)


# --- A model file is data


@pytest.mark.parametrize('place', ['../secret', 'absolute', 'beside'])
def test_weights_in_other_files_are_not_read(model: Path, tmp_path: Path, place: str):
    """Whatever the version of onnxruntime: before 1.24, it read files outside of the folder."""
    (tmp_path / 'models').mkdir()
    for file in ('secret', 'models/beside'):
        (tmp_path / file).write_bytes(np.float32([0.9, 0.2]).tobytes())
    changed = onnx.load(model)
    (row,) = (tensor for tensor in changed.graph.initializer if tensor.name == 'score_row')
    row.ClearField('raw_data')
    row.data_location = TensorProto.EXTERNAL
    named = str(tmp_path / 'secret') if place == 'absolute' else place
    for key, value in (('location', named), ('length', '8')):
        entry = row.external_data.add()
        entry.key, entry.value = key, value
    content = changed.SerializeToString()
    overlong = content.replace(b'\x08location', b'\x88\x00location')
    for name, data in (('plain', content), ('overlong', overlong)):
        path = tmp_path / f'models/{name}.onnx'
        path.write_bytes(data)
        assert f'{name}.onnx' in refused(path)


def test_a_class_may_be_called_location(tmp_path: Path):
    names = ('location', 'dislocation')
    path = write_hand_made(tmp_path / 'named.onnx', replace(METADATA, classes=names))
    assert Predictor(path).metadata.classes == names


def test_operators_of_a_library_are_not_loaded(model: Path, tmp_path: Path):
    changed = onnx.load(model)
    changed.graph.node.append(helper.make_node('Run', ['scores'], ['unused'], domain='evil', library='/tmp/evil.so'))
    changed.opset_import.append(helper.make_opsetid('evil', 1))
    (tmp_path / 'evil.onnx').write_bytes(changed.SerializeToString())
    assert 'evil.onnx' in refused(tmp_path / 'evil.onnx')


def test_a_file_of_torch_is_a_program_and_must_be_trusted(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / 'model.pt2').write_bytes(b'any')
    assert '--trust' in refused(tmp_path / 'model.pt2')
    assert cli.main(['run', str(tmp_path / 'model.pt2'), str(HERE)]) == 2
    assert 'model.pt2' in capfd.readouterr().err
    assert '--trust' not in refused(tmp_path / 'model.pt2', trusted=True), 'it is read, and is none'
    assert not capfd.readouterr().err, 'what torch logs of it is a traceback'
