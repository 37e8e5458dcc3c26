"""From images and annotations to a config: reads, checks, and writes what is sound."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.base_model import BaseModel, choose
from mmdet_dab.data.checks.annotations import check_annotations
from mmdet_dab.data.checks.classes import check_categories, choose_classes
from mmdet_dab.data.checks.finding import Finding, stop_at_errors
from mmdet_dab.data.checks.images import check_images, check_repeated_images, check_unlisted
from mmdet_dab.data.checks.recipe import check_recipe
from mmdet_dab.data.config_writer import config_text
from mmdet_dab.data.data_paths import data_paths
from mmdet_dab.data.formats import FORMATS, detect_format, read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.orientation import on_loaded_images
from mmdet_dab.data.recipe import Recipe, suggest
from mmdet_dab.data.report import findings_text, printable, table
from mmdet_dab.data.sample_sheet import draw_sheet
from mmdet_dab.data.split import split_by_list, split_by_share
from mmdet_dab.data.statistics import measure
from mmdet_dab.data.trial import measure_speed
from mmdet_dab.data.val_images import find_val_images
from mmdet_dab.errors import DataError, listed, plural

__all__ = ['FORMATS', 'MARKED_ON', 'Request', 'make']

#: What boxes can have been marked on: images as viewers show them, or pixels as they are stored.
MARKED_ON = ('upright', 'stored')


@dataclass(frozen=True)
class Request:
    """What the user gave; see ``mmdet-dab new-data --help``.

    Attributes:
        start: as ``base_model.choose`` takes it.
        minutes: by the clock that the training run may take; None: as long as it gets better.
        boxes_on: one of ``MARKED_ON``, for images with an EXIF orientation; None: upright, with a
            warning.
    """

    images: Path
    annotations: Path
    out: Path
    configs: Path
    val_images: Path | None = None
    val: Path | None = None
    kind: str | None = None
    classes: tuple[str, ...] | None = None
    start: str = 'auto'
    minutes: float | None = None
    val_share: float = 0.2
    seed: int = 0
    annotations_out: Path | None = None
    leave_out: bool = False
    overwrite: bool = False
    boxes_on: str | None = None

    @property
    def sheet(self) -> Path:
        """Sample sheet, beside the config."""
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
    """One side of the dataset; ``changed`` if what was read is not what will be trained on."""

    name: str
    data: Annotations
    images: ImageFolder
    changed: bool = False


def make(request: Request) -> None:
    """Write config, sample sheet, report, and annotations where needed; print what was seen.

    Raises:
        DataError: the data would silently lower AP, or a training run would fail. What was seen is
            printed before.
    """
    _check_request(request)
    kind = request.kind or detect_format(request.annotations)
    notes = [f'format      {kind}' + ('' if request.kind else ', as the files look')]
    sources = _read_sources(request, kind, notes)
    findings = _check_sources(request, sources)
    _stop(notes, findings)
    splits = sources if len(sources) == 2 else _divide(request, sources[0], notes)
    classes, found = choose_classes([split.data for split in splits], kind, request.classes)
    findings += found
    _stop(notes, findings)
    findings += _check_splits(splits, classes, invalid=any(finding.objects for finding in findings))
    _stop(notes, findings)
    base = choose(request.start, request.configs, classes)
    statistics = [measure(split.data, classes) for split in splits]
    most_objects = max(int(one.counts.max()) for one in statistics)
    recipe = suggest(statistics[0], most_objects, base)
    for split in splits:
        findings += check_recipe(split.data, classes, recipe, base.stride)
    _stop(notes, findings)
    columns = dict(zip(('train', 'val'), statistics, strict=True))
    notes += [_base_line(base, classes), '', table(columns, classes, recipe.resizing, base.stride)]
    if findings:
        notes += ['', findings_text(findings)]
    report = printable('\n'.join(notes))
    print(report)
    lines, files = _write_annotations(request, splits)
    plan = _Plan(request, splits, classes, base, files)
    if request.minutes is not None:
        print(f'\nmeasuring how fast this machine trains, for {request.minutes:g} minutes …', flush=True)
        recipe = suggest(statistics[0], most_objects, base, measure_speed(plan.config(recipe), request.minutes))
    print(printable('\n'.join(['', *lines, *plan.write(recipe, report)])))


def _stop(notes: Sequence[str], findings: Sequence[Finding]) -> None:
    """Say all that was seen, and refuse data with an error."""
    if any(finding.stops for finding in findings):
        print(printable('\n'.join([*notes, '', findings_text(findings)])))
        stop_at_errors(findings)


def _check_request(request: Request) -> None:
    if request.out.suffix != '.py':
        raise DataError(f'--out {request.out}: a config is a Python file. Name it .py.')
    if '.' in request.out.stem:
        raise DataError(f'--out {request.out}: mmengine reads no config with a further dot in its name. Rename it.')
    if request.out.exists() and not request.overwrite:
        raise DataError(f'--out {request.out}: it exists. Name another file, or write over it with --overwrite.')
    for option, folder in (('--images', request.images), ('--val-images', request.val_images)):
        if folder is not None and not folder.is_dir():
            raise DataError(f'{option} {folder}: it is not a folder. Name the one with the images.')
    if request.val_images is not None and request.val is None:
        raise DataError('--val-images: it needs --val, the annotations of the validation images. Give both.')
    if request.minutes is not None and not 0 < request.minutes < inf:
        raise DataError(
            f'--minutes {request.minutes:g}: it must be a number greater than 0. Give the time of a training run.'
        )
    if not 0 < request.val_share < 1:
        raise DataError(f'--val-share {request.val_share:g}: it must lie between 0 and 1. Give another one.')
    if request.classes is not None and len(set(request.classes)) < len(request.classes):
        raise DataError(f'--classes {listed(request.classes)}: a name comes twice. Name each once.')
    if request.boxes_on not in (None, *MARKED_ON):
        raise DataError(f'--boxes-on {request.boxes_on}: it must be {" or ".join(MARKED_ON)}. Give one of them.')


# --- Reading


def _read_sources(request: Request, kind: str, notes: list[str]) -> list[Split]:
    """Training and validation, or one source that is still to be divided."""
    images = ImageFolder(request.images)
    by_list = request.val is not None and request.val.suffix.lower() == '.txt' and request.val.is_file()
    if request.val is None or by_list:
        return [_read(request, 'all', request.annotations, kind, images, False, notes)]
    val_folder = request.val_images or find_val_images(request.images, request.annotations, request.val, kind)
    if request.val_images is None and val_folder != request.images:
        notes.append(f'val images  {val_folder}, found by the place of {request.val}')
    shared = val_folder.resolve() == request.images.resolve()
    val_images = images if shared else ImageFolder(val_folder)
    train = _read(request, 'train', request.annotations, kind, images, shared, notes)
    val = _read(request, 'val', request.val, kind, val_images, shared, notes)
    if kind == 'voc' and request.classes is None:
        both = sorted({*train.data.names(), *val.data.names()})  # one numbering for both sides
        train.data, val.data = train.data.with_categories(both), val.data.with_categories(both)
    return [train, val]


def _read(
    request: Request, name: str, path: Path, kind: str, images: ImageFolder, shared: bool, notes: list[str]
) -> Split:
    data = read(path, kind, images, request.classes if kind != 'coco' else None, shared)
    if request.boxes_on == 'stored':
        data = on_loaded_images(data, images, relative=kind == 'yolo')
    split = Split(name, data, images, kind != 'coco' or bool(data.changes))
    notes += [f'{"completed" if kind == "coco" else "converted"}   {data.source}: {line}' for line in data.changes]
    return _without_errors(split, notes) if request.leave_out else split


def _divide(request: Request, whole: Split, notes: list[str]) -> list[Split]:
    if request.val is not None:
        train, val, how = split_by_list(whole.data, request.val)
    else:
        train, val, how = split_by_share(whole.data, whole.images.folder, request.val_share, request.seed)
    notes.append(f'split       {how}')
    return [Split(name, whole.data.select(rows), whole.images, True) for name, rows in (('train', train), ('val', val))]


def _without_errors(split: Split, notes: list[str]) -> Split:
    """Leave out images that cannot be used and invalid boxes, as the user asked."""
    data = split.data
    findings = [*check_annotations(data, training=True), *check_images(data, split.images)]
    rows = {row for finding in findings for row in finding.images}
    objects = {index for finding in findings for index in finding.objects}
    if not rows and not objects:
        return split
    kept = data.select(
        set(range(len(data.images))) - rows, [index for index in range(len(data.objects)) if index not in objects]
    )
    gone = len(data.objects) - len(kept.objects)
    notes.append(f'left out    {data.source}: {plural(len(rows), "image")} and {plural(gone, "object")}')
    return Split(split.name, kept, split.images, True)


# --- Checking


def _check_sources(request: Request, sources: Sequence[Split]) -> list[Finding]:
    findings = []
    for source in sources:
        findings += check_categories(source.data)
        # Other images explain wrong boxes: they come first.
        findings += check_images(source.data, source.images, oriented=request.boxes_on is not None)
        # What is divided is evaluated in part.
        findings += check_annotations(source.data, training=source.name == 'train')
    for folder in {source.images.folder.resolve(): source.images for source in sources}.values():
        listing = [source.data for source in sources if source.images.folder.resolve() == folder.folder.resolve()]
        findings += check_unlisted(listing, folder)
    return findings


def _check_splits(splits: Sequence[Split], classes: Sequence[str], *, invalid: bool) -> list[Finding]:
    """What a training run would refuse when it starts, and images on both sides.

    A share of invalid boxes that is small in the whole can be large in one split.

    Args:
        splits: training and validation.
        classes: by label.
        invalid: whether some of the boxes are; a million sound ones are not looked at twice.
    """
    train, val = splits
    findings = check_repeated_images((train.data, train.images.folder), (val.data, val.images.folder))
    for split in splits:
        if not invalid and split.data.counted.any():
            continue
        errors = [one for one in check_annotations(split.data, training=split is train) if one.stops]
        findings += [replace(one, what=f'in the {split.name} split {one.what}') for one in errors]
    if not any(finding.stops for finding in findings) and not len(measure(train.data, classes).objects):
        what = 'no object of these classes lies in its image'
        findings.append(Finding(train.data.source, what, list(classes), True, 'Correct the boxes'))
    return findings


def _base_line(base: BaseModel, classes: Sequence[str]) -> str:
    if base.checkpoint is None:
        weights = 'weights of ImageNet in its backbone' if base.imagenet else 'random weights'
        line = f'starts from {weights}, the small model'
    else:
        known = f'it knows {len(base.known)} of {plural(len(classes), "class", "classes")}'
        line = f'starts from {base.checkpoint}, the model of {base.bases[0]}; {known}'
    return f'{line}. {base.why}' if base.why else line


# --- Writing


def _write_annotations(request: Request, splits: Sequence[Split]) -> tuple[list[str], list[Path]]:
    """Write those that are not as they were read; return a line for each, and all files."""
    lines, files = [], []
    for split in splits:
        file = split.data.source
        if split.changed:
            file = request.written_annotations / f'{split.name}.json'
            split.data.write(file)
            lines.append(f'wrote {file}: {_numbers(split.data)}')
        files.append(file)
    return lines, files


@dataclass(frozen=True)
class _Plan:
    """What a config says of, but for the numbers of the recipe.

    Attributes:
        files: of the annotations, by split.
    """

    request: Request
    splits: Sequence[Split]
    classes: Sequence[str]
    base: BaseModel
    files: Sequence[Path]

    def config(self, recipe: Recipe) -> str:
        """The whole text."""
        request = self.request
        folders = [(file, split.images.folder) for file, split in zip(self.files, self.splits, strict=True)]
        sources = [split.data.source for split in self.splits]
        paths = data_paths(folders[0], folders[1], sources, absolute=request.images.is_absolute())
        seen = [f'{split.name}: {_numbers(split.data)}' for split in self.splits]
        return config_text(request.out, request.configs, paths, self.classes, recipe, self.base, seen)

    def write(self, recipe: Recipe, report: str) -> list[str]:
        """Write config, sample sheet and report; return a line for each."""
        request = self.request
        text = self.config(recipe)
        request.out.parent.mkdir(parents=True, exist_ok=True)
        request.out.write_text(text, encoding='utf-8')
        shown = [(split.name, split.data, split.images.folder) for split in self.splits]
        draw_sheet(request.sheet, shown, self.classes, recipe.resizing)
        request.report.write_text(report + '\n', encoding='utf-8')
        return [
            f'wrote {request.sheet}: open it first. Do the boxes lie right, can the objects be seen?',
            f'wrote {request.report}: what you read here',
            f'wrote {request.out}',
            f'next: mmdet-dab train {shlex.quote(str(request.out))}',
        ]


def _numbers(data: Annotations) -> str:
    return f'{plural(len(data.images), "image")}, {plural(len(data.objects), "object")}'
