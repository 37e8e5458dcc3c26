"""Prediction and training step beside mmdet's and Hugging Face's DAB-DETR: ``python -m
benchmarks.speed``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from benchmarks import side_by_side
from benchmarks.peers import Scene, candidate, predict, train
from benchmarks.side_by_side import Candidate, Measurement

SIZE = (800, 1066)


def tasks(device: str) -> dict[str, dict[str, Candidate]]:
    """What is measured: a title, and the candidates by name; the first is what the others are
    compared with.
    """
    one, two = Scene(1, SIZE, device=device), Scene(2, SIZE, device=device)
    return {
        'predict-r50': {
            'mmdet': candidate(predict, 'mmdet', 'r50', one, None),
            'Hugging Face': candidate(predict, 'Hugging Face', 'r50', one, None),
            'ours': candidate(predict, 'ours', 'r50', one, None),
            'ours, optimised': candidate(predict, 'ours', 'r50', one, 'float32'),
            'ours, optimised, bfloat16': candidate(predict, 'ours', 'r50', one, 'bfloat16'),
        },
        'predict-r50-dc5': {
            'mmdet': candidate(predict, 'mmdet', 'r50_dc5', one, None),
            'ours': candidate(predict, 'ours', 'r50_dc5', one, None),
            'ours, optimised': candidate(predict, 'ours', 'r50_dc5', one, 'float32'),
            'ours, optimised, bfloat16': candidate(predict, 'ours', 'r50_dc5', one, 'bfloat16'),
        },
        'train-r50': {
            'mmdet': candidate(train, 'mmdet', 'r50', two),
            'Hugging Face': candidate(train, 'Hugging Face', 'r50', two),
            'ours': candidate(train, 'ours', 'r50', two),
            'ours, channels-last': candidate(train, 'ours', 'r50', two, True),
        },
        'train-r50-dc5': {
            'mmdet': candidate(train, 'mmdet', 'r50_dc5', one),
            'ours': candidate(train, 'ours', 'r50_dc5', one),
            'ours, channels-last': candidate(train, 'ours', 'r50_dc5', one, True),
            'ours, channels-last, recomputing': candidate(train, 'recomputing', 'r50_dc5', one, True),
        },
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


def report(title: str, results: list[Measurement]) -> str:
    """A Markdown table of one task."""
    base = results[0]
    rows = [
        (
            result.name,
            f'{result.median:.3g} s',
            result.spread,
            f'{base.median / result.median:.2f} ×',
            f'{result.peak_gb:.2f} GB',
            f'{result.peak_gb / base.peak_gb:.2f} ×',
            distance(result, base),
        )
        for result in results
    ]
    header = (
        title,
        'median',
        'least – greatest',
        f'faster than {base.name}',
        'peak memory',
        'of it',
        'outputs differ by',
    )
    return side_by_side.table(header, rows)


def run(names: Mapping[str, dict[str, Candidate]], args: argparse.Namespace) -> None:
    about = side_by_side.machine(args.threads)
    for title, candidates in names.items():
        chosen = {name: each for name, each in candidates.items() if not args.only or name in args.only}
        print(f'{title}: {", ".join(chosen)}', flush=True)
        results = side_by_side.measure(chosen, args.rounds, args.threads, args.device)
        text = f'{report(title, results)}\n\n{about}; {args.rounds} rounds.'
        data = {'about': about, 'results': [vars(result) | {'outcome': None} for result in results]}
        side_by_side.keep(title, text, data, args.publish)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = tasks('cpu')
    parser.add_argument('tasks', nargs='*', default=list(known), help=f'any of {", ".join(known)}; all by default')
    parser.add_argument('--only', nargs='*', help='candidates to run, e.g. mmdet ours')
    side_by_side.add_arguments(parser, rounds=5)
    args = parser.parse_args()
    unknown = set(args.tasks) - set(known)
    if unknown:
        parser.error(f'no task {", ".join(sorted(unknown))}: there are {", ".join(known)}')
    every = tasks(args.device)
    run({title: every[title] for title in args.tasks}, args)


if __name__ == '__main__':
    main()
