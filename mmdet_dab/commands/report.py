"""Write a report of a result file: AP, types of errors, thresholds, galleries of misses."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab.console import say
from mmdet_dab.errors import UserError, plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('results', type=Path, help="detections: a .json file of COCO's kind, of any detector")
    parser.add_argument(
        '--annotations', type=Path, required=True, metavar='FILE', help="ground truth: a .json file of COCO's kind"
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images; without it, no galleries')
    parser.add_argument('--out', type=Path, default=Path('report'), metavar='DIR', help='folder (default: report)')
    parser.add_argument('--title', help='of the page; default: the name of the result file')


def run(args: argparse.Namespace) -> None:
    say(f'report of {args.results}')
    if args.images is not None and not args.images.is_dir():
        raise UserError(f'--images {args.images}: there is no such folder. Name that of the images, or leave it out.')
    from mmdet_dab.analysis.report import images, inputs
    from mmdet_dab.analysis.report.evaluate import evaluate
    from mmdet_dab.analysis.report.page import prepare, write
    from mmdet_dab.analysis.report.words import lead

    gt = inputs.read_ground_truth(args.annotations, images.size_reader(args.images))
    found = inputs.read_results(args.results, gt)
    prepare(args.out)
    say(f'evaluating {plural(len(found), "detection")} on {plural(len(gt.data.images), "image")} …')
    done = evaluate(found, gt)
    load = images.folder_loader(args.images, gt.data.images)
    pages = write(done, args.out, args.title or args.results.name, load)
    print(lead(done))
    for page in pages:
        print(page)
