"""Evaluators of COCO's kind side by side: ``python -m benchmarks.evaluators``.

Are their figures equal, and which is faster? In an environment of its own:
``pip install faster-coco-eval hotcoco``. Evaluators that are not installed are left out. Times are
medians of alternating runs, of reading both files, evaluating and summing up.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_dab.analysis.report import inputs
from mmdet_dab.analysis.report.evaluate import evaluate
from tests.helpers.detections import annotated, disturbed


def pycocotools(truth: str, found: str) -> Any:
    """The default of MMDetection and of ours."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    index = COCO(truth)
    return summed_up(COCOeval(index, index.loadRes(found), 'bbox'))


def faster_coco_eval(truth: str, found: str) -> Any:
    """In C++."""
    from faster_coco_eval import COCO, COCOeval_faster

    index = COCO(truth)
    return summed_up(COCOeval_faster(index, index.loadRes(found), 'bbox'))


def hotcoco(truth: str, found: str) -> Any:
    """In Rust."""
    from hotcoco import COCO, COCOeval

    index = COCO(truth)
    return summed_up(COCOeval(index, index.load_res(found), 'bbox'))


def report(truth: str, found: str) -> None:
    """Everything that a report tells, without its galleries; pycocotools is part of it."""
    objects = inputs.read_ground_truth(Path(truth), lambda name: None)
    evaluate(inputs.read_results(Path(found), objects), objects)


EVALUATORS: dict[str, Callable[[str, str], Any]] = {
    'pycocotools': pycocotools,
    'faster_coco_eval': faster_coco_eval,
    'hotcoco': hotcoco,
}


def summed_up(evaluation: Any) -> Any:
    """After all three steps."""
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def compare(truth: str, found: str, repeats: int) -> None:
    """Print how far figures differ from pycocotools', and times."""
    installed = {name: run for name, run in EVALUATORS.items() if importlib.util.find_spec(name)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (*installed, 'report')}
    figures: dict[str, Any] = {}
    for _ in range(repeats):
        for name, run in {**installed, 'report': report}.items():
            wall, process = time.perf_counter(), time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                result = run(truth, found)
            times[name].append((time.perf_counter() - wall, time.process_time() - process))
            if result is not None:
                figures[name] = np.asarray(getattr(result, 'all_stats', result.stats))[:12]
    for name, values in times.items():
        wall, process = (statistics.median(column) for column in zip(*values, strict=True))
        difference = ''
        if name in figures:
            difference = f'  differs by at most {np.abs(figures[name] - figures["pycocotools"]).max():.1e}'
        print(f'{name:<17} {wall:7.2f} s, of the processor {process:7.2f} s{difference}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--files', nargs=2, metavar=('ANNOTATIONS', 'RESULTS'), help='default: drawn ones')
    parser.add_argument('--images', type=int, default=500, help='of the drawn files, with 80 classes')
    parser.add_argument('--detections', type=int, default=100, help='on each drawn image, about')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    if args.files:
        compare(*args.files, args.repeats)
        return
    content = annotated(0, classes=80, images=args.images)
    found = disturbed(content, 0, false_alarms=max(0, args.detections - 4))
    with tempfile.TemporaryDirectory() as folder:
        for name, value in (('truth.json', content), ('found.json', found)):
            Path(folder, name).write_text(json.dumps(value))
        print(f'{args.images:,} images, {len(content["annotations"]):,} objects, {len(found):,} detections')
        compare(f'{folder}/truth.json', f'{folder}/found.json', args.repeats)


if __name__ == '__main__':
    main()
