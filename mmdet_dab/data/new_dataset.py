"""From pictures and annotations to a config: reads, looks, and writes only when nothing would cost AP in silence."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.base_model import Start, from_checkpoint, from_scratch
from mmdet_dab.data.checks.annotations import check_annotations, check_categories
from mmdet_dab.data.checks.classes import choose_classes
from mmdet_dab.data.checks.finding import Finding, stop_at_faults
from mmdet_dab.data.checks.images import check_pictures, check_repeated_pictures, check_unlisted
from mmdet_dab.data.checks.recipe import check_recipe
from mmdet_dab.data.config_writer import config_text, data_paths
from mmdet_dab.data.formats import detect_format, read
from mmdet_dab.data.images import PictureFolder
from mmdet_dab.data.recipe import Recipe, suggest
from mmdet_dab.data.report import findings_text, table
from mmdet_dab.data.sample_sheet import draw_sheet
from mmdet_dab.data.split import split_by_list, split_by_share
from mmdet_dab.data.statistics import measure
from mmdet_dab.errors import DataError


@dataclass(frozen=True)
class Request:
    """What the user gave; see ``tools/new_dataset.py --help``."""

    images: Path
    annotations: Path
    out: Path
    configs: Path
    val_images: Path | None = None
    val: Path | None = None
    kind: str | None = None
    classes: tuple[str, ...] | None = None
    checkpoint: Path | None = None
    val_share: float = 0.2
    seed: int = 0
    annotations_out: Path | None = None
    leave_out: bool = False
    overwrite: bool = False

    @property
    def sheet(self) -> Path:
        """Picture sheet, beside the config."""
        return self.out.with_name(f'{self.out.stem}_samples.jpg')

    @property
    def report(self) -> Path:
        """Report, beside the config."""
        return self.out.with_name(f'{self.out.stem}_report.txt')

    @property
    def written_annotations(self) -> Path:
        """Folder of converted annotation files."""
        return self.annotations_out or self.out.with_name(f'{self.out.stem}_annotations')


@dataclass
class Split:
    """One side of the data set on its way; ``changed`` if what was read is not what will be trained on."""

    name: str
    data: Annotations
    pictures: PictureFolder
    changed: bool = False


def make(request: Request) -> None:
    """Write config, picture sheet and report, and converted annotations where needed; print what was seen.

    Raises:
        DataError: the data would cost AP in silence, or a training would fail. What was seen is printed before.
    """
    _check_request(request)
    kind = request.kind or detect_format(request.annotations)
    notes = [f'format      {kind}' + ('' if request.kind else ', as the files look')]
    sources = _read_sources(request, kind, notes)
    findings = _look(sources)
    _stop(notes, findings)
    splits = sources if len(sources) == 2 else _divide(request, sources[0], notes)
    classes, found = choose_classes([split.data for split in splits], kind, request.classes)
    findings += found
    train, val = splits
    findings += check_repeated_pictures((train.data, train.pictures.folder), (val.data, val.pictures.folder))
    _stop(notes, findings)
    start = _start(request, classes)
    measures = [measure(split.data, classes) for split in splits]
    recipe = suggest(measures[0], max(int(one.counts.max()) for one in measures), start)
    for split in splits:
        findings += check_recipe(split.data, classes, recipe, start.stride)
    columns = dict(zip(('train', 'val'), measures, strict=True))
    notes += [_start_line(start, classes), '', table(columns, classes, recipe.resizing, start.stride)]
    if findings:
        notes += ['', findings_text(findings)]
    report = '\n'.join(notes)
    print(report)
    print('\n'.join(['', *_write(request, splits, classes, recipe, start, report)]))


def _stop(notes: Sequence[str], findings: Sequence[Finding]) -> None:
    """Say all that was seen, and refuse data with a fault."""
    if any(finding.stops for finding in findings):
        print('\n'.join([*notes, '', findings_text(findings)]))
        stop_at_faults(findings)


def _check_request(request: Request) -> None:
    if request.out.suffix != '.py':
        raise DataError(f'--out {request.out}: a config is a Python file, name it .py')
    if '.' in request.out.stem:
        raise DataError(f'--out {request.out}: mmengine reads no config with a further dot in its name')
    if request.out.exists() and not request.overwrite:
        raise DataError(f'{request.out} exists: name another file, or write over it with --overwrite')
    for option, folder in (('--images', request.images), ('--val-images', request.val_images)):
        if folder is not None and not folder.is_dir():
            raise DataError(f'{option} {folder} is no folder: name the one with the pictures')
    if request.val_images is not None and request.val is None:
        raise DataError('--val-images without --val: give the annotations of the validation pictures, too')
    if not 0 < request.val_share < 1:
        raise DataError(f'--val-share {request.val_share:g} must lie between 0 and 1')
    if request.classes is not None and len(set(request.classes)) < len(request.classes):
        raise DataError(f'--classes {" ".join(request.classes)}: a name comes twice')


# --- Reading


def _read_sources(request: Request, kind: str, notes: list[str]) -> list[Split]:
    """Training and validation, or one source that is still to be divided."""
    pictures = PictureFolder(request.images)
    names = request.classes if kind != 'coco' else None
    by_list = request.val is not None and request.val.suffix.lower() == '.txt' and request.val.is_file()
    if request.val is None or by_list:
        return [_read(request, request.annotations, kind, pictures, names, False, notes)]
    shared = request.val_images is None or request.val_images.resolve() == request.images.resolve()
    val_pictures = pictures if request.val_images is None else PictureFolder(request.val_images)
    train = _read(request, request.annotations, kind, pictures, names, shared, notes)
    val = _read(request, request.val, kind, val_pictures, names, shared, notes)
    if kind == 'voc' and names is None:
        both = sorted({*train.data.names(), *val.data.names()})  # one numbering for both sides
        train.data, val.data = train.data.with_categories(both), val.data.with_categories(both)
    train.name, val.name = 'train', 'val'
    return [train, val]


def _read(
    request: Request,
    path: Path,
    kind: str,
    pictures: PictureFolder,
    names: Sequence[str] | None,
    shared: bool,
    notes: list[str],
) -> Split:
    data = read(path, kind, pictures, names, shared)
    split = Split('all', data, pictures, kind != 'coco' or bool(data.filled))
    notes += [f'{"filled in" if kind == "coco" else "converted"}   {data.source}: {line}' for line in data.filled]
    return _without_faulty(split, notes) if request.leave_out else split


def _divide(request: Request, whole: Split, notes: list[str]) -> list[Split]:
    if request.val is not None:
        train, val, how = split_by_list(whole.data, request.val)
    else:
        train, val, how = split_by_share(whole.data, whole.pictures.folder, request.val_share, request.seed)
    notes.append(f'split       {how}')
    return [
        Split(name, whole.data.select(rows), whole.pictures, True) for name, rows in (('train', train), ('val', val))
    ]


def _without_faulty(split: Split, notes: list[str]) -> Split:
    """Leave out pictures that cannot be used and boxes that are none, as the user asked."""
    data = split.data
    findings = [*check_annotations(data, training=True), *check_pictures(data, split.pictures)]
    rows = {row for finding in findings for row in finding.images}
    objects = {index for finding in findings for index in finding.objects}
    if not rows and not objects:
        return split
    kept = data.select(
        set(range(len(data.images))) - rows, [index for index in range(len(data.objects)) if index not in objects]
    )
    gone = len(data.objects) - len(kept.objects)
    notes.append(f'left out    {data.source}: {len(rows)} of {len(data.images)} pictures and {gone} objects')
    return Split(split.name, kept, split.pictures, True)


# --- Looking


def _look(sources: Sequence[Split]) -> list[Finding]:
    findings = []
    for source in sources:
        findings += check_categories(source.data)
        findings += check_pictures(source.data, source.pictures)  # other pictures explain wrong boxes
        # What is divided is evaluated in part.
        findings += check_annotations(source.data, training=source.name == 'train')
    for folder in {source.pictures.folder.resolve(): source.pictures for source in sources}.values():
        listing = [source.data for source in sources if source.pictures.folder.resolve() == folder.folder.resolve()]
        findings += check_unlisted(listing, folder)
    return findings


def _start(request: Request, classes: Sequence[str]) -> Start:
    if request.checkpoint is None:
        return from_scratch(request.configs)
    return from_checkpoint(request.checkpoint, request.configs, classes)


def _start_line(start: Start, classes: Sequence[str]) -> str:
    if start.checkpoint is None:
        return 'starts from random weights, the small model'
    known = f'{len(start.known)} of {len(classes)} classes are known to it'
    return f'starts from {start.checkpoint}, the model of {start.bases[0]}; {known}'


# --- Writing


def _write(
    request: Request, splits: Sequence[Split], classes: Sequence[str], recipe: Recipe, start: Start, report: str
) -> list[str]:
    """Write everything; return a line for each file."""
    lines = []
    files = []
    for split in splits:
        file = split.data.source
        if split.changed:
            file = request.written_annotations / f'{split.name}.json'
            split.data.write(file)
            lines.append(f'wrote {file}: {len(split.data.images):,} pictures, {len(split.data.objects):,} objects')
        files.append(file)
    train, val = ((file, split.pictures.folder) for file, split in zip(files, splits, strict=True))
    paths = data_paths(train, val, absolute=request.images.is_absolute())
    seen = [
        f'{split.name}: {len(split.data.images):,} pictures, {len(split.data.objects):,} objects' for split in splits
    ]
    request.out.parent.mkdir(parents=True, exist_ok=True)
    text = config_text(request.out, request.configs, paths, classes, recipe, start, seen)
    request.out.write_text(text, encoding='utf-8')
    shown = [(split.name, split.data, split.pictures.folder) for split in splits]
    draw_sheet(request.sheet, shown, classes, recipe.resizing)
    request.report.write_text(report + '\n', encoding='utf-8')
    return [
        *lines,
        f'wrote {request.sheet}: look at it, do the boxes lie right, can the objects be seen?',
        f'wrote {request.report}: what you read here',
        f'wrote {request.out}',
        f'next: python tools/train.py {shlex.quote(str(request.out))}',
    ]
