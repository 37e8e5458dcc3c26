"""Convert weights of others for this project, or ours for Hugging Face."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdet_dab import compat
from mmdet_dab.commands import arguments
from mmdet_dab.config import build_detector, config_names, load_config
from mmdet_dab.console import say
from mmdet_dab.errors import CheckpointError, UserError
from mmdet_dab.version import __version__

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmdet_dab.checkpoints import Conversion, Layout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='file of weights: .pth, .pt, .bin or .safetensors')
    parser.add_argument('target', help='file to write; with --to huggingface, a folder')
    parser.add_argument('--config', help='config of the model; default: the one of ours that fits')
    arguments.add_overrides(parser)
    parser.add_argument(
        '--num-classes',
        type=int,
        help="class rows to keep, e.g. 91 for all of COCO's ids; default: what the config says",
    )
    parser.add_argument('--to', choices=['mmdet_dab', 'huggingface'], default='mmdet_dab', help='layout to write')


def run(args: argparse.Namespace) -> None:
    source, target = Path(args.source), Path(args.target)
    outwards = args.to == 'huggingface'
    check_paths(source, target, outwards)
    say('loading PyTorch and MMDetection …')
    compat.import_stack()
    from mmdet_dab.checkpoints import check_fits, read_weights, recognise
    from mmdet_dab.checkpoints.huggingface_export import REMARK, export
    from mmdet_dab.checkpoints.known_layouts import OURS

    weights, meta = read_weights(source, allow=(argparse.Namespace,))
    try:
        layout = recognise(weights)
        if layout is OURS and not outwards:
            raise UserError(f'{source} is in the layout of this project already; --to writes it for others')
        found = layout.convert(weights)
        config = args.config or find_config(found)
        cfg = load_config(config, args.cfg_options)
        if args.num_classes is not None:
            cfg.merge_from_dict({'model.bbox_head.num_classes': args.num_classes})
        model: Any = build_detector(cfg)
        kept = model.bbox_head.num_classes
        conversion = found.with_classes(kept)
        check_fits(conversion, model.state_dict(), config)
    except CheckpointError as error:
        raise CheckpointError(f'checkpoint {source}: {error}') from error
    known = dataset_meta(kept, meta, cfg)
    rows = table(layout, found, kept, config, bool(known))
    if outwards:
        pipeline = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', ())
        export(target, model, conversion.state, known.get('classes'), pipeline)
        rows.append(('note', REMARK))
    else:
        write(target, conversion, known, dict(file=source.name, layout=layout.name, config=Path(config).stem))
    rows.append(('written', str(target)))
    for label, text in rows:
        print(f'{label:<12} {text}')


def check_paths(source: Path, target: Path, to_folder: bool) -> None:
    """Refuse what would be found only after the work, and what would destroy the source."""
    if source.is_dir():
        raise UserError(f'{source} is a folder: name the file of weights in it, such as model.safetensors')
    if not source.exists():
        raise CheckpointError(f'checkpoint {source} does not exist')
    written = target / 'model.safetensors' if to_folder else target
    if written.resolve() == source.resolve():
        raise UserError(f'{target} would overwrite the source: name another target')
    if to_folder and target.is_file():
        raise UserError(f'{target} is a file: weights for Hugging Face are written into a folder, name one')
    if not to_folder and target.is_dir():
        raise UserError(f'{target} is a folder: name the file to write')


def find_config(conversion: Conversion) -> str:
    """The name of the config of ours that converted weights belong to."""
    from mmdet_dab.checkpoints import config_name

    name = str(config_name(conversion.state)).removesuffix('.py')
    if name not in config_names():
        raise UserError('no config of ours fits these weights: name the config of their model with --config')
    return name


def dataset_meta(kept: int, meta: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Names and colours of the class rows: the source's own, the config's, or COCO's.

    Empty if nobody knows them.
    """
    from mmdet.datasets import CocoDataset

    from mmdet_dab.checkpoints.layout import COCO_IDS

    coco = CocoDataset.METAINFO
    by_id = dict(zip(COCO_IDS, coco['classes'], strict=True))
    candidates: tuple[dict[str, Any], ...] = (
        # mmdet 3.0 wrote CLASSES
        {key.lower(): value for key, value in meta.get('dataset_meta', {}).items()},
        dict(cfg.get('metainfo', {})),
        coco,
        dict(classes=tuple(by_id.get(number, 'N/A') for number in range(91))),
    )
    for known in candidates:
        names = tuple(known.get('classes', ()))
        if len(names) == kept:
            colours = known.get('palette') or (coco['palette'] * (1 + kept // 80))[:kept]
            return dict(classes=names, palette=colours)
    return {}


def table(layout: Layout, conversion: Conversion, kept: int, config: str, named: bool) -> list[tuple[str, str]]:
    """What was found and done, as rows of label and text."""
    origin = conversion.origin
    taken = len(set(origin.values()))
    renamed = len({theirs for ours, theirs in origin.items() if ours != theirs})
    reasons = Counter(conversion.dropped.values())
    rows = conversion.class_rows
    selected = "COCO's classes among the ids 0..90" if kept < rows else 'all'
    return [
        ('layout', f'{layout.name}: {layout.source}'),
        ('tensors', f'{taken} taken of {taken + len(conversion.dropped)}, {len(conversion.state)} written'),
        ('renamed', str(renamed)),
        *(('dropped', f'{number}, {reason}') for reason, number in reasons.items()),
        *([] if reasons else [('dropped', '0')]),
        ('class rows', f'{kept} of {rows}, {selected}'),
        ('class names', 'in the file' if named else 'not known'),
        ('config', config),
        *(('note', remark) for remark in layout.remarks),
    ]


def write(target: Path, conversion: Conversion, known: dict[str, Any], origin: dict[str, str]) -> None:
    """Write a checkpoint as mmengine does.

    Without names there must be no ``dataset_meta``: ``init_detector`` would ask it for them.
    """
    import torch

    meta = dict(converted_from=origin, mmdet_dab_version=__version__)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=meta | ({'dataset_meta': known} if known else {}), state_dict=conversion.state), target)
