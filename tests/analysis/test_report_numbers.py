"""The figures of a report, against pycocotools, tidecv's own output, and calculations by hand."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_dab.analysis.report import inputs
from mmdet_dab.analysis.report.calibration import Calibration, calibration
from mmdet_dab.analysis.report.coco_ap import SUMMARY
from mmdet_dab.analysis.report.evaluate import Evaluation, evaluate
from mmdet_dab.analysis.report.matching import TYPES
from mmdet_dab.analysis.report.thresholds import curve, rounded_down
from mmdet_dab.analysis.report.words import calibration_sentence
from tests.helpers.detections import annotated, disturbed

#: Arguments of two annotation files, and what tidecv 1.0.1 says (tests/helpers/tidecv_oracle.py).
FILES = (
    (
        dict(seed=0),
        dict(AP50=65.69, Cls=5.62, Loc=10.07, Both=0.04, Dupe=0.37, Bkg=0.11, Miss=10.22, FP=1.14, FN=32.58),
    ),
    (
        dict(seed=1, classes=12, absent=3),
        dict(AP50=41.28, Cls=7.07, Loc=6.88, Both=0.0, Dupe=0.48, Bkg=0.11, Miss=10.53, FP=1.05, FN=31.54),
    ),
)


def evaluation(folder: Path, content: dict[str, Any], found: list[dict[str, Any]]) -> Evaluation:
    (folder / 'truth.json').write_text(json.dumps(content))
    (folder / 'found.json').write_text(json.dumps(found))
    truth = inputs.read_ground_truth(folder / 'truth.json', lambda name: None)
    return evaluate(inputs.read_results(folder / 'found.json', truth), truth)


@pytest.fixture(scope='module', params=[0, 1])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation, dict]:
    """Folder with both files, what the report makes of them, tidecv's figures."""
    arguments, costs = FILES[request.param]
    folder = tmp_path_factory.mktemp('files')
    content = annotated(**arguments)
    return folder, evaluation(folder, content, disturbed(content, 5)), costs


def pycocotools(folder: Path, above: float = 0.0) -> COCOeval:
    """Read by itself from the same files."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / 'truth.json'))
        found = [one for one in json.loads((folder / 'found.json').read_text()) if one['score'] >= above]
        evaluated = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated


def test_ap_is_that_of_pycocotools_to_the_last_digit(done):
    folder, ours, _ = done
    assert [ours.ap.summary[name] for name in SUMMARY] == pycocotools(folder).stats[: len(SUMMARY)].tolist()
    assert 0.2 < ours.ap.summary['AP'] < 0.9


def test_ap_by_class_is_that_of_pycocotools_with_this_class_alone(done):
    folder, ours, _ = done
    whole = pycocotools(folder)
    for label, category in enumerate(whole.cocoGt.loadCats(whole.cocoGt.getCatIds())):
        with contextlib.redirect_stdout(io.StringIO()):
            whole.params.catIds = [category['id']]
            whole.evaluate()
            whole.accumulate()
            whole.summarize()
        expected = [value if value >= 0 else np.nan for value in whole.stats[:6]]
        got = [ours.class_ap[label], ours.ap.by_class(0.5)[label], ours.ap.by_class(0.75)[label]]
        got += [ours.ap.by_class(size=size)[label] for size in ('small', 'medium', 'large')]
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_ap_above_a_threshold_is_that_of_the_file_without_the_rest(done):
    folder, ours, _ = done
    thresholds = np.array([0.0, 0.3, 0.55, 0.8])
    expected = [pycocotools(folder, above).stats[0] for above in thresholds]
    np.testing.assert_allclose(ours.ap.above(thresholds), expected, atol=1e-12)
    assert expected[0] > expected[3] + 0.05


def test_costs_of_errors_are_those_of_tidecv(done):
    _, ours, expected = done
    got = dict(ours.costs.gain, AP50=ours.costs.ap50)
    assert got.keys() == expected.keys()
    assert got == pytest.approx(expected, abs=0.02)


def one_image(objects: list[tuple], found: list[tuple]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Files of one image of three classes: (class, box) each, and a score for detections."""
    content = dict(
        images=[dict(id=1, file_name='a.jpg', width=400, height=400)],
        categories=[dict(id=number, name=f'c{number}') for number in (1, 2, 3)],
        annotations=[
            dict(id=number, image_id=1, category_id=label, bbox=list(box), area=box[2] * box[3], iscrowd=crowd)
            for number, (label, box, crowd) in enumerate(objects, start=1)
        ],
    )
    return content, [dict(image_id=1, category_id=label, bbox=list(box), score=score) for label, box, score in found]


def test_every_type_of_error_by_hand(tmp_path: Path):
    """One object a corner, 100 × 100, and what is detected there.

    A shift by 20 gives IoU 80/120 = 0.67, by 50 gives 50/150 = 0.33, by 90 gives 10/190 = 0.05.
    """
    objects = [
        (1, (0, 0, 100, 100), 0),
        (1, (200, 0, 100, 100), 0),
        (2, (0, 200, 100, 100), 0),
        (3, (200, 200, 100, 100), 0),
        (1, (0, 320, 100, 60), 1),
    ]
    found = [
        (1, (20, 0, 100, 100), 0.9),  # right
        (1, (0, 0, 100, 100), 0.8),  # again
        (1, (250, 0, 100, 100), 0.7),  # too far off
        (1, (0, 220, 100, 100), 0.6),  # of another class
        (1, (250, 200, 100, 100), 0.5),  # both
        (2, (290, 290, 100, 100), 0.4),  # on nothing: IoU with the last object is 1/199
        (1, (10, 330, 20, 20), 0.3),  # within the crowd of its class
    ]
    ours = evaluation(tmp_path, *one_image(objects, found)).matching
    names = [TYPES[kind] if kind >= 0 else '' for kind in ours.error.tolist()]
    assert names[:6] == ['', 'Dupe', 'Loc', 'Cls', 'Both', 'Bkg']
    assert ours.correct.tolist() == [True] + [False] * 6
    assert ours.ignored.tolist() == [False] * 6 + [True]
    assert ours.target.tolist()[:6] == [0, 0, 1, 2, -1, -1]
    assert ours.missed.tolist() == [False, False, False, True]


def test_threshold_by_hand(tmp_path: Path):
    """Right, right, wrong, right, wrong, of four objects.

    F1 after each: 2·1/(1+4), 2·2/(2+4), 4/(3+4), 6/(4+4) = 0.75, 6/(5+4). Two scores are equal and
    stand or fall together.
    """
    places = [(0, 0), (100, 0), (200, 0), (300, 0)]
    objects = [(1, (*place, 50, 50), 0) for place in places]
    boxes = [(0, 0, 50, 50), (100, 0, 50, 50), (0, 300, 50, 50), (200, 0, 50, 50), (100, 300, 50, 50)]
    scores = [0.9, 0.7, 0.456, 0.456, 0.2]
    found = [(1, box, score) for box, score in zip(boxes, scores, strict=True)]
    ours = evaluation(tmp_path, *one_image(objects, found))
    assert ours.overall.f1.tolist() == pytest.approx([2 / 5, 4 / 6, 6 / 8, 6 / 9])
    best = ours.best
    assert best is not None
    assert (best.threshold, best.precision, best.recall, best.f1) == pytest.approx((0.45, 0.75, 0.75, 0.75))
    assert curve(ours.matching, ours.found, ours.gt, 1).best() is None
    precision, recall, _ = ours.overall.at(np.array([0.95, 0.7, 0.0]))
    assert recall.tolist() == [0, 0.5, 0.75]
    assert np.isnan(precision[0])
    assert precision[1:].tolist() == [1, 0.6]


@pytest.mark.parametrize(('score', 'text'), [(0.999, 0.99), (0.5, 0.5), (0.0099, 0.0099), (0.00012, 0.0001)])
def test_a_threshold_is_rounded_down(score: float, text: float):
    assert rounded_down(score) == text <= score


def test_calibration_by_hand(tmp_path: Path):
    """Scores 0.95 and 0.91 of which one is right, and 0.12, wrong: (2·|0.93 − 0.5| + 0.12) / 3."""
    found = [(1, (0, 0, 50, 50), 0.95), (1, (200, 0, 50, 50), 0.91), (1, (200, 200, 50, 50), 0.12)]
    ours = evaluation(tmp_path, *one_image([(1, (0, 0, 50, 50), 0)], found))
    assert ours.calibration.error == pytest.approx((2 * 0.43 + 0.12) / 3)
    assert ours.calibration.count.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    above = calibration(ours.matching, ours.found, above=0.93)
    assert above.error == pytest.approx(0.05)
    assert above.bias() == pytest.approx(-0.05)


def test_confusion_by_hand(tmp_path: Path):
    """Found, found as another class, missed; one false alarm, one score too low to count."""
    objects = [(1, (0, 0, 50, 50), 0), (2, (100, 0, 50, 50), 0), (3, (200, 0, 50, 50), 0)]
    found = [
        (1, (0, 0, 50, 50), 0.9),
        (3, (100, 0, 50, 50), 0.95),
        (1, (300, 300, 50, 50), 0.93),
        (3, (0, 300, 50, 50), 0.1),
    ]
    ours = evaluation(tmp_path, *one_image(objects, found))
    assert ours.threshold == 0.9
    assert ours.confusion.matrix.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert ours.confusion.top(5) == [(1, 2, 1)]
    (miss,) = ours.galleries.misses
    assert (miss.target, miss.detection) == (2, None)
    (confused,) = ours.galleries.confused
    assert (confused.detection, confused.target) == (1, 1)
    (suspect,) = ours.galleries.label_errors
    assert (suspect.detection, suspect.target, ours.galleries.suspected) == (2, None, 1)
    assert ours.galleries.false_alarms == []


def test_a_second_class_on_an_object_that_was_found_is_a_false_alarm(tmp_path: Path):
    """The object of class 1 is found, and detected as class 2 as well: counted, and shown."""
    box = (0, 0, 50, 50)
    ours = evaluation(tmp_path, *one_image([(1, box, 0), (2, (100, 0, 50, 50), 0)], [(1, box, 0.9), (2, box, 0.95)]))
    assert ours.confusion.matrix[-1].tolist() == [0, 1, 0, 0]
    (alarm,) = ours.galleries.false_alarms
    assert (alarm.detection, alarm.target) == (1, 0)


@pytest.mark.parametrize(
    ('precision', 'words'), [((0.6, 0.9), 'can be read'), ((0.85, 0.65), 'far too high'), ((0.2, 0.6), 'promises more')]
)
def test_calibration_in_words(precision: tuple[float, float], words: str):
    """Of scores 0.55 and 0.95, equally many. Errors that cancel out are errors."""
    done: Any = SimpleNamespace(confident=Calibration(np.array([10, 10]), np.array([0.55, 0.95]), np.array(precision)))
    assert words in calibration_sentence(done)
