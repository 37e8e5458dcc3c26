"""docs/serve.md: its numbers, computed again without this package, and its programs, run on a file made by hand."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from mmdet_dab.deploy import Predictor
from tests.helpers import markdown
from tests.helpers.hand_made import METADATA, write_hand_made

PAGE = markdown.DOCS / 'serve.md'
FACTS = replace(METADATA, scale=(256, 192))
IMAGES = [np.full((100, width, 3), (10, 20, 200), np.uint8) for width in (200, 60)]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_hand_made(tmp_path / 'shapes.onnx', FACTS)
    cv2.imwrite(str(tmp_path / 'shot.png'), IMAGES[0])
    monkeypatch.chdir(tmp_path)


def run(name: str) -> dict[str, Any]:
    """The names that a program of the page leaves."""
    (block,) = [block for block in markdown.blocks(PAGE) if block.argument == name]
    names: dict[str, Any] = {'__name__': 'page'}
    exec(compile(block.text, name, 'exec'), names)
    return names


def table() -> dict[str, list[str]]:
    """The rows of the example by hand."""
    lines = PAGE.read_text().split('### By hand')[1].split('```')[0].splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]
    return {name: cells for name, *cells in rows}


def numbers(text: str) -> tuple[float, ...]:
    """What stands in the last brackets."""
    return tuple(float(part) for part in text.replace('−', '-').split('(')[-1].rstrip(')').split(','))


def test_numbers_of_the_example_by_hand():
    rows = table()
    valid = []
    for column, image in enumerate(IMAGES):
        height, width = image.shape[:2]
        assert rows['width × height'][column] == f'{width} × {height}'
        factor = min(256 / max(height, width), 192 / min(height, width))
        assert rows['factor'][column].endswith(f'= {factor:.2f}')
        new_width, new_height = (int(edge * factor + 0.5) for edge in (width, height))
        assert rows['resized'][column].endswith(f'{new_width} × {new_height}')
        valid.append((new_height, new_width))
        assert numbers(rows['`valid_sizes`'][column]) == valid[-1]
    canvas = np.max(valid, axis=0)
    assert numbers(rows['`images`'][0]) == (2, 3, *canvas)
    (pixel_row,) = [name for name in rows if name.startswith('a pixel')]
    red_green_blue = numbers(pixel_row.split(' in red')[0])
    assert red_green_blue == tuple(IMAGES[0][0, 0, ::-1])
    normalised = (np.array(red_green_blue) - FACTS.mean) / FACTS.std
    np.testing.assert_allclose(numbers(rows[pixel_row][0]), normalised, atol=5e-5)

    batch = np.zeros((2, 3, *canvas), dtype=np.float32)
    for row, (height, width) in zip(batch, valid, strict=True):
        row[:, :height, :width] = normalised[:, None, None]
    session = onnxruntime.InferenceSession('shapes.onnx')
    _, _, boxes = session.run(None, {'images': batch, 'valid_sizes': np.array(valid)})
    (box_row,) = [name for name in rows if name.startswith('a box')]
    for column, image in enumerate(IMAGES):
        height, width = image.shape[:2]
        expected = boxes[column, 0] * [width, height, width, height]
        np.testing.assert_allclose(numbers(rows[box_row][column]), expected, rtol=1e-6)


@pytest.mark.parametrize(
    'changes',
    [{}, {'resize': 'stretch', 'pad_divisor': 32}, {'resize': 'none', 'channels': 'bgr'}, {'input': 'uint8'}],
    ids=str,
)
def test_the_program_without_this_package_feeds_the_file_what_the_runtime_feeds_it(changes: dict[str, Any]):
    write_hand_made(Path('shapes.onnx'), replace(FACTS, **changes))
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, image.shape, dtype=np.uint8) for image in IMAGES]
    page, predictor = run('plain.py'), Predictor('shapes.onnx')
    fed: list[dict[str, np.ndarray]] = []

    def spy(session: Any) -> Any:
        def run_and_remember(names: list[str], inputs: dict[str, np.ndarray]) -> Any:
            fed.append(inputs)
            return session.run(names, inputs)

        return SimpleNamespace(run=run_and_remember)

    page['session'], predictor.backend.session = spy(page['session']), spy(predictor.backend.session)
    theirs, ours = list(page['detect'](images)), predictor(images)
    assert {name: values.shape for name, values in fed[0].items()} == {
        name: values.shape for name, values in fed[1].items()
    }
    for name in fed[0]:
        np.testing.assert_array_equal(fed[0][name], fed[1][name])
    for (names, scores, boxes), found in zip(theirs, ours, strict=True):
        assert tuple(names) == found.names
        np.testing.assert_array_equal(scores, found.scores)
        np.testing.assert_array_equal(boxes, found.boxes)


def test_the_client_runs(capsys: pytest.CaptureFixture[str]):
    names = run('client.py')
    assert len(names['several']) == 2
    assert len(names['many']) == 5
    assert '150' in capsys.readouterr().out


@pytest.fixture
def litserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the packages that the service needs; the service itself was tried by hand."""
    fastapi, responses, module = ModuleType('fastapi'), ModuleType('fastapi.responses'), ModuleType('litserve')
    module.LitAPI = object
    responses.JSONResponse = lambda content, status_code: SimpleNamespace(content=content, status_code=status_code)
    for stand_in in (fastapi, responses, module):
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


@pytest.mark.usefixtures('litserve')
def test_the_service_answers_a_batch_with_a_broken_request():
    """As LitServe's loop over a batch calls it."""
    api = run('server.py')['DetectorAPI']()
    api.setup('cpu')
    content = Path('shot.png').read_bytes()
    requests = [{'image': SimpleNamespace(file=io.BytesIO(data))} for data in (content, b'no image', b'')]
    inputs = [api.decode_request(request) for request in (*requests, {})]
    answers = [api.encode_response(found) for found in api.unbatch(api.predict(api.batch(inputs)))]
    assert answers[0] == {
        'boxes': [[50, 50, 150, 100]],
        'scores': [pytest.approx(0.9)],
        'labels': [1],
        'names': [FACTS.classes[1]],
    }
    assert [answer.status_code for answer in answers[1:]] == [400, 400, 400]
