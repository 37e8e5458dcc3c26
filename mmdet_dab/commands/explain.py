"""Write a page that shows what every query of a detector sees, layer by layer.

One file that opens from disk and loads nothing: attention by content and by position, anchors,
scores, sliders that move an anchor, and two detectors side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_dab import preflight
from mmdet_dab.commands import arguments
from mmdet_dab.config import draft_config
from mmdet_dab.console import say
from mmdet_dab.errors import DataError, UserError, plural
from mmdet_dab.media_files import find_images, told_apart
from mmdet_dab.regular_files import check_output

#: What stands at the top of every page.
MARK = '<title>What the queries see</title>'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', nargs='+', help='images, folders of images, or patterns such as "shots/*.png"')
    arguments.add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file, or an address on the Hugging Face hub')
    parser.add_argument('--out', default='explain.html', help='file to write; default: explain.html')
    parser.add_argument('--annotations', help="COCO's annotation file with the ground truth of the images")
    parser.add_argument(
        '--compare',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a second detector, shown beside the first; --cfg-options are of the first',
    )
    parser.add_argument(
        '--queries', nargs='+', type=int, metavar='N', help='queries to keep, by number; default: the best ones'
    )
    parser.add_argument(
        '--threshold', type=arguments.score, default=0.3, help='score from which on a query is a detection'
    )
    parser.add_argument('--device', default='cpu', help='such as cuda:0; default: cpu')


def run(args: argparse.Namespace) -> None:
    images = find_images(args.images)
    out = Path(args.out)
    _check_out(out)
    if args.annotations and not Path(args.annotations).is_file():
        raise DataError(f'--annotations {args.annotations}: there is no such file')
    pairs = [(args.config, args.checkpoint), *([tuple(args.compare)] if args.compare else [])]
    say(f'explain {plural(len(images), "image")} with {" and ".join(config for config, _ in pairs)}')
    options = [args.cfg_options, {}]  # those of the first detector
    drafts = [draft_config(config, given) for (config, _), given in zip(pairs, options, strict=False)]
    for _, checkpoint in pairs:
        preflight.check_file(checkpoint)
    say('loading PyTorch and MMDetection …')
    configs = [draft.finish() for draft in drafts]
    preflight.check_device(args.device)
    for _, checkpoint in pairs:
        preflight.check_checkpoint(checkpoint)
    from mmdet_dab.config import build
    from mmdet_dab.engine.files import write_whole
    from mmdet_dab.explain.explorer import Detector, explore
    from mmdet_dab.explain.ground_truth import read_objects

    truth = read_objects(Path(args.annotations), images) if args.annotations else None
    names = _names(pairs)
    detectors = [
        Detector(build(cfg, checkpoint, args.device), name)
        for cfg, (_, checkpoint), name in zip(configs, pairs, names, strict=True)
    ]
    source = Path(args.annotations) if args.annotations else None
    page = explore(detectors, images, truth, source, args.queries, args.threshold, tell=say)
    for message in page.messages:
        say(message)
    write_whole(out.resolve(), lambda part: part.write_text(page.text, encoding='utf-8'))
    print(f'{plural(len(images), "image")} → {out} ({out.stat().st_size / 1e6:.1f} MB)')


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in ('.html', '.htm'):
        raise UserError(f'--out {out}: what is written is a page: let its name end in .html')
    check_output(out, '--out')
    if out.is_file() and out.stat().st_size:
        with out.open('rb') as file:
            if MARK.encode() not in file.read(4096):
                raise UserError(f'--out {out}: this file is no page of this command. Name another, or remove it.')


def _names(pairs: list[tuple[str, str]]) -> list[str]:
    """What the page calls the detectors: the config's name, and the checkpoint's where that is the
    same."""
    configs = [config.removesuffix('.py') for config in told_apart([config for config, _ in pairs])]
    if len(set(configs)) == len(configs):
        return configs
    checkpoints = told_apart([checkpoint for _, checkpoint in pairs])
    return [f'{config} · {checkpoint}' for config, checkpoint in zip(configs, checkpoints, strict=True)]
