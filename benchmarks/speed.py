"""Every table and image of docs/performance.md, but those of exported files: ``python -m
benchmarks.speed``.

Prediction, training step and a whole test stand beside mmdet's and Hugging Face's DAB-DETR. Results
are kept under ``work_dirs/benchmarks``, so that a run can be made in pieces, part by part.
``--publish`` writes all of them into the page, if they are of one machine; another machine has
another page (``--page``).
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import side_by_side
from benchmarks.peers import MODELS, Scene, candidate, elsewhere, predict, train
from benchmarks.side_by_side import Candidate, Measurement
from benchmarks.whole_test import whole_test

SIZE = (800, 1066)
#: Of the small detector of ``mmdet-dab new-data``, and the threads that its step is timed with.
SMALL_SIZE, SMALL_BATCH, SMALL_THREADS = (192, 256), 4, 1
SCRATCH, LITE = 'dn_detr_small', 'dab_detr_lite0'


@dataclass(frozen=True)
class Task:
    """What is measured together.

    Attributes:
        candidates: by name; the first is what the others are compared with.
        rounds: how often each is timed, unless the command says otherwise.
        threads: of PyTorch; None: as many as the command says.
        outputs: whether outputs are compared.
        warm: whether there is a round before that is not timed.
    """

    candidates: dict[str, Candidate]
    rounds: int = 3
    threads: int | None = None
    outputs: bool = True
    warm: bool = True


def tasks(args: argparse.Namespace) -> dict[str, Task]:
    """What is measured beside one another, by the name of its table."""
    device = args.device
    one, two = Scene(1, SIZE, device=device), Scene(2, SIZE, device=device)
    eight, small = Scene(8, SIZE, device=device), Scene(SMALL_BATCH, SMALL_SIZE, device=device)
    own_data: dict[str, Candidate] = {}
    if args.against is not None:
        own_data['before'] = partial(elsewhere, str(args.against), train, MODELS['small'], SCRATCH, small)
    return {
        'predict-r50': Task(
            {
                'mmdet': candidate(predict, 'mmdet', 'r50', one, None),
                'Hugging Face': candidate(predict, 'Hugging Face', 'r50', one, None),
                'ours': candidate(predict, 'ours', 'r50', one, None),
                'ours, optimised': candidate(predict, 'ours', 'r50', one, 'float32'),
                'ours, optimised, bfloat16': candidate(predict, 'ours', 'r50', one, 'bfloat16'),
            },
            rounds=7,
        ),
        'predict-r50-dc5': Task(
            {
                'mmdet': candidate(predict, 'mmdet', 'r50_dc5', one, None),
                'ours': candidate(predict, 'ours', 'r50_dc5', one, None),
                'ours, optimised': candidate(predict, 'ours', 'r50_dc5', one, 'float32'),
                'ours, optimised, bfloat16': candidate(predict, 'ours', 'r50_dc5', one, 'bfloat16'),
            }
        ),
        'predict-r50-batch-8': Task(
            {
                '8 × batch 1': candidate(predict, 'ours', 'r50', one, 'float32', 8),
                'batch 8': candidate(predict, 'ours', 'r50', eight, 'float32'),
                '8 × batch 1, bfloat16': candidate(predict, 'ours', 'r50', one, 'bfloat16', 8),
                'batch 8, bfloat16': candidate(predict, 'ours', 'r50', eight, 'bfloat16'),
            },
            rounds=2,
            outputs=False,
        ),
        'train-r50-batch-1': Task(
            {
                'mmdet': candidate(train, 'mmdet', 'r50', one),
                'ours': candidate(train, 'ours', 'r50', one),
                'ours, bfloat16': candidate(train, 'ours', 'r50', one, 'bfloat16'),
            },
            rounds=4,
        ),
        'train-r50': Task(
            {
                'mmdet': candidate(train, 'mmdet', 'r50', two),
                'Hugging Face': candidate(train, 'Hugging Face', 'r50', two),
                'ours': candidate(train, 'ours', 'r50', two),
                'ours, bfloat16': candidate(train, 'ours', 'r50', two, 'bfloat16'),
            }
        ),
        'train-r50-dc5': Task(
            {
                'mmdet': candidate(train, 'mmdet', 'r50_dc5', one),
                'ours': candidate(train, 'ours', 'r50_dc5', one),
                'ours, recomputing': candidate(train, 'recomputing', 'r50_dc5', one),
                'ours, bfloat16': candidate(train, 'ours', 'r50_dc5', one, 'bfloat16'),
            }
        ),
        'train-small': Task(
            own_data
            | {
                'ours': candidate(train, 'small now', SCRATCH, small),
                'ours, bfloat16': candidate(train, 'small now', SCRATCH, small, 'bfloat16'),
                'ours, Lite0': candidate(train, 'small now', LITE, small),
                'ours, Lite0, bfloat16': candidate(train, 'small now', LITE, small, 'bfloat16'),
            },
            rounds=15,
            threads=SMALL_THREADS,
            outputs=False,
        ),
        'test-r50': Task(
            {
                'mmdet': candidate(whole_test, 'mmdet', args.images, args.number, None),
                'ours, optimised': candidate(whole_test, 'ours', args.images, args.number, 'float32'),
                'ours, optimised, bfloat16': candidate(whole_test, 'ours', args.images, args.number, 'bfloat16'),
            },
            rounds=1,
            outputs=False,
            warm=False,
        ),
    }


def distance(result: Measurement, base: Measurement) -> str:
    """:func:`furthest`, for the table; Hugging Face's training losses are others, and not compared."""
    losses = not isinstance(result.outcome[0], list)
    return '—' if result is base or (losses and result.name == 'Hugging Face') else f'{furthest(result, base):.0e}'


def furthest(result: Measurement, base: Measurement) -> float:
    """How far the outputs are from the base's: of the first step's losses relatively, of scores and
    boxes absolutely.

    Boxes count in parts of the image, and where the order of two equal scores differs, not at
    all.
    """
    if not isinstance(result.outcome[0], list):
        return abs(result.outcome[0] - base.outcome[0]) / abs(base.outcome[0])  # later ones grow apart by rounding
    (scores, boxes), (base_scores, base_boxes) = result.outcome, base.outcome
    distance = max(abs(a - b) for a, b in zip(scores, base_scores, strict=True))
    by_box = [
        min(max(abs(a - b) for a, b in zip(box, other, strict=True)) for other in base_boxes) / max(SIZE)
        for box in boxes[: len(boxes) // 2]
    ]
    return max(distance, *by_box)


def report(title: str, task: Task, results: list[Measurement]) -> str:
    """A Markdown table of one task."""
    base = results[0]
    columns: dict[str, Callable[[Measurement], str]] = {
        title: lambda result: result.name,
        'median': lambda result: f'{result.median:.3g} s',
        'least – greatest': lambda result: result.spread,
        f'faster than {base.name}': lambda result: f'{base.median / result.median:.2f} ×',
        'in processor time': lambda result: f'{base.processor_median / result.processor_median:.2f} ×',
        'peak memory': lambda result: f'{result.peak_gb:.2f} GB',
        'of it': lambda result: f'{result.peak_gb / base.peak_gb:.2f} ×',
    }
    if task.outputs:
        columns['outputs differ by'] = lambda result: distance(result, base)
    if isinstance(base.outcome, dict):
        for part in ('evaluation', 'drawing'):
            columns[part] = lambda result, part=part: f'{result.outcome.get(part, 0) / result.seconds[-1]:.1%}'
    return side_by_side.table(list(columns), [[column(result) for column in columns.values()] for result in results])


def measured(title: str, task: Task, args: argparse.Namespace) -> side_by_side.Part:
    """One task, timed."""
    chosen = {name: each for name, each in task.candidates.items() if not args.only or name in args.only}
    rounds, threads = args.rounds or task.rounds, task.threads or args.threads
    results = side_by_side.measure(chosen, rounds, threads, args.device, warm=task.warm)
    how = f'{side_by_side.plural(rounds, "round")}, {side_by_side.plural(threads, "thread")}.'
    return side_by_side.Part(
        f'{report(title, task, results)}\n\n{how}',
        {'results': [vars(result) | {'outcome': None} for result in results]},
    )


def parts(args: argparse.Namespace) -> dict[str, Callable[[], side_by_side.Part]]:
    """Everything that the page shows, in its order, by the name of its marks."""
    # Not above: the processes of candidates import this file, and one of them wants the package of
    # another checkout.
    from benchmarks import growth, matching, profile

    return {
        **{title: partial(measured, title, task, args) for title, task in tasks(args).items()},
        'matching': partial(matching.part, args),
        'profile-r50': partial(profile.part, args),
        'growth': partial(growth.part, args),
    }


def commit() -> str:
    """What was measured."""
    command = ['git', '-C', str(side_by_side.ROOT), 'describe', '--always', '--dirty']
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def draw(page: Path) -> None:
    """The image of the page, from its tables."""
    from benchmarks import plot

    print(f'wrote {plot.draw(page)}')


def publish(names: Mapping[str, Any], page: Path) -> None:
    """Write all parts that were measured into a page, and draw its image.

    Raises:
        SystemExit: parts were measured on several machines, or none was.
    """
    kept = {name: part for name in names if (part := side_by_side.kept(name)) is not None}
    missing = [name for name in names if name not in kept]
    if missing:
        print(f'not measured, and left in the page as it is: {", ".join(missing)}')
    machines = {name: part['machine'] for name, part in kept.items()}
    if len(set(machines.values())) != 1:
        listed = '; '.join(f'{name}: {value}' for name, value in machines.items())
        raise SystemExit(f'error: not of one machine ({listed}): measure those that differ again')
    for name, part in kept.items():
        side_by_side.write_between_marks(page, name, part['text'])
    rates = [part['rate'] for part in kept.values()]
    commits = ', '.join(sorted({part['commit'] for part in kept.values()}))
    line = (
        f'{next(iter(machines.values()))}; between {min(rates):.0f} and {max(rates):.0f} GFLOPS in a float32 matrix '
        f'product, measured before every part. Commit {commits}.'
    )
    side_by_side.write_between_marks(page, 'machine', line)
    draw(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('parts', nargs='*', help='what to measure; all by default: an unknown name lists them')
    parser.add_argument('--only', nargs='*', help='candidates to run, e.g. mmdet ours; their table is not published')
    parser.add_argument('--kept', action='store_true', help='measure only what was not measured of this commit yet')
    parser.add_argument('--against', type=Path, metavar='CHECKOUT', help='of another commit, for train-small')
    parser.add_argument('--images', type=Path, metavar='DIR', help='with annotations.json, for test-r50; else drawn')
    parser.add_argument('--number', type=int, default=128, help='images of test-r50, at most')
    parser.add_argument('--page', type=Path, default=side_by_side.PAGE, help='to publish to: one for each machine')
    side_by_side.add_arguments(parser, rounds=None)
    args = parser.parse_args()
    known = parts(args)
    unknown = set(args.parts) - set(known)
    if unknown:
        parser.error(f'no part {", ".join(sorted(unknown))}: there are {", ".join(known)}')
    now, failed = commit(), list[str]()
    for name in args.parts or known:
        before = side_by_side.kept(name)
        if args.kept and before is not None and before['commit'] == now:
            continue
        start = time.perf_counter()
        print(f'{name} …', flush=True)
        try:
            take(name, known[name], args, now)
        except Exception:  # what the other parts have measured, or will, is worth keeping
            traceback.print_exc()
            failed.append(name)
        print(f'{name}: {time.perf_counter() - start:.0f} s\n', flush=True)
    if args.publish:
        publish(known, args.page)
    if failed:
        raise SystemExit(f'error: failed, see above: {", ".join(failed)}')


def take(name: str, measure: Callable[[], side_by_side.Part], args: argparse.Namespace, now: str) -> None:
    """Measure one part, print and keep it."""
    rate = side_by_side.matmul_rate(args.threads)
    part = measure()
    print(f'\n{part.text}\n', flush=True)
    if not args.only:
        side_by_side.save(name, part, machine=side_by_side.machine_name(), rate=rate, commit=now)


if __name__ == '__main__':
    logging.disable(logging.INFO)  # mmengine lists every weight that it initialises
    main()
