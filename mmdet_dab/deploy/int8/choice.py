"""Which parts of a detector become int8, chosen by the metric on the validation images."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from mmdet_dab.deploy.backends import load_backend, need
from mmdet_dab.deploy.exported_detector import ExportedDetector
from mmdet_dab.deploy.int8.data import CalibrationImages, Inputs, Yardstick
from mmdet_dab.deploy.int8.parts import EVERY
from mmdet_dab.deploy.int8.quantizers import QUANTIZERS, parts_in
from mmdet_dab.deploy.metadata import Metadata, Trial, write_metadata
from mmdet_dab.deploy.request import unfinished
from mmdet_dab.errors import UserError

#: Share of the float file's metric that an int8 file must keep.
KEPT = 0.995
#: What is tried, from the fastest file to the slowest.
CHOICES = (
    EVERY,
    ('backbone', 'neck', 'encoder', 'decoder'),
    ('backbone', 'neck', 'encoder'),
    ('backbone', 'neck'),
)
#: Times as fast as float32 from which on bfloat16 is tried for the parts that are not int8: it
#: rounds anchors and positions too, and small detectors gain nothing by it.
WORTH = 1.1
#: The packages that it takes, for each format.
PACKAGES = {'.xml': ('openvino', 'nncf'), '.onnx': ('onnx', 'onnxruntime')}


def check(out: Path) -> None:
    """Refuse a file that cannot become int8, before work starts.

    Raises:
        UserError: no such format, or a package is missing.
    """
    if out.suffix not in QUANTIZERS:
        raise UserError(f'--int8: {out} cannot be int8; the endings that can are {", ".join(QUANTIZERS)}.')
    for package in PACKAGES[out.suffix]:
        need(package, 'int8')


def quantize(config: Config, file: Path, number: int = 200, tell: Callable[[str], None] = print) -> Metadata:
    """Put an int8 file in the place of an exported float32 one, if it keeps the metric.

    Args:
        config: of the detector, with training images to calibrate on and validation images to
            measure on.
        file: ``.xml`` or ``.onnx``.
        number: of calibration images.
        tell: says what is going on.

    Returns:
        the metadata of the new file, with everything that was measured.

    Raises:
        UserError: no choice of parts keeps the metric: says the figures. The float file stays.
    """
    check(file)
    images = CalibrationImages(config, ExportedDetector(str(file), config.model.get('data_preprocessor') or {}), number)
    measure = Yardstick(config)
    tell(f'int8: calibrated on {len(images)} training images, measured on {measure.images} validation images')
    base = measure(file)
    tell(f'  {measure.name} of the float32 file: {base:.3f}; int8 must keep {KEPT:.1%} of it')
    if base <= 0:
        raise UserError(f'{file}: {measure.name} is {base:.3f}, so that nothing can be chosen by it. The file stays.')
    trials, there = [Trial((), 'float32', base)], parts_in(file)
    with unfinished(file) as folder:
        for trial, draft in _trials(file, Path(folder), images, measure, tell):
            trials.append(trial)
            if trial.metric >= KEPT * base:
                metadata = replace(
                    load_backend(draft).metadata,
                    float_parts=tuple(part for part in EVERY if part in there and part not in trial.int8_parts),
                    int8_metric=measure.name,
                    int8_trials=tuple(trials),
                )
                write_metadata(draft, metadata)
                for part in draft.parent.glob(f'{draft.stem}.*'):
                    shutil.move(part, file.with_suffix(part.suffix))
                return metadata
    best = max(trials[1:], key=lambda trial: trial.metric)
    raise UserError(
        f'{file}: int8 keeps {best.metric / base:.1%} of {measure.name} {base:.3f} at best ({best.metric:.3f}, '
        f'{", ".join(best.int8_parts)} in int8), less than {KEPT:.1%}. The float32 file was left as it is.'
    )


def choices(file: Path) -> list[tuple[str, ...]]:
    """:data:`CHOICES` of what an exported file has, each once."""
    there = parts_in(file)
    return list(dict.fromkeys(tuple(part for part in parts if part in there) for parts in CHOICES))


def _trials(
    file: Path, folder: Path, images: CalibrationImages, measure: Yardstick, tell: Callable[[str], None]
) -> Iterator[tuple[Trial, Path]]:
    """What is measured, one by one, and the file of it."""
    metadata = load_backend(file).metadata
    precisions = rests(file, folder, images[len(images) // 2])
    for parts in choices(file):
        for rest in precisions:
            started = time.monotonic()
            draft = folder / '+'.join(parts) / file.name
            if not draft.exists():
                draft.parent.mkdir()
                QUANTIZERS[file.suffix](file, draft, parts, images)
            write_metadata(draft, replace(metadata, precision=f'int8+{rest}'))
            trial = Trial(parts, rest, measure(draft))
            seconds = time.monotonic() - started
            tell(f'  {trial.metric:.3f} with {", ".join(parts)} in int8, the rest in {rest} ({seconds:.0f} s)')
            yield trial, draft


def rests(file: Path, folder: Path, image: Inputs, rounds: int = 5) -> tuple[str, ...]:
    """Precisions for the parts that are not int8, in the order in which they are tried.

    Args:
        file: in float32.
        folder: for a copy.
        image: to predict, by which bfloat16 is compared with float32.
        rounds: of the comparison; medians of processor time.
    """
    if file.suffix != '.xml':
        return ('float32',)
    half = folder / 'half' / file.name
    half.parent.mkdir()
    for part in (file, file.with_suffix('.bin')):
        shutil.copy(part, half.with_name(part.name))
    write_metadata(half, replace(load_backend(file).metadata, precision='bfloat16'))
    backends = [load_backend(each) for each in (file, half)]
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for backend, taken in zip(backends, seconds, strict=True):
            start = time.process_time()
            backend.run(**image)
            taken.append(time.process_time() - start)
    full, short = (statistics.median(taken[1:]) for taken in seconds)
    return ('bfloat16', 'float32') if full > WORTH * short else ('float32',)
