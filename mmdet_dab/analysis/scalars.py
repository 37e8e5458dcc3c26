"""What training runs logged: the Runner's scalars, joined over all starts of a run.

MMEngine writes one JSON object per line into ``WORK_DIR/TIME/vis_data/scalars.json``. Every start
of the Runner, so every resumption, has a TIME folder of its own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet_dab.errors import DataError, plural

#: Where the log of a start lies in a work directory.
PATTERN = '*/vis_data/scalars.json'
#: The losses of one decoder layer that are matched to objects; denoising has its own.
LAYER_LOSS = re.compile(r'^(?:d(\d+)\.)?(loss_(?:cls|bbox|iou))$')

Entry = dict[str, Any]


@dataclass(frozen=True)
class TrainingLog:
    """What a training run logged.

    Attributes:
        name: of its work directory.
        folder: the work directory.
        steps: what was logged in training: losses, rates; ``step`` counts updates from 1.
        validations: metrics, with the ``step`` after which they were measured.
        starts: how often the run was started.
        unreadable: ``FILE:LINE`` of every line that could not be read, such as one that was cut.
    """

    name: str
    folder: Path
    steps: tuple[Entry, ...]
    validations: tuple[Entry, ...]
    starts: int = 1
    unreadable: tuple[str, ...] = ()

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of a number that was logged; both empty where it never was."""
        entries = [entry for entry in (*self.steps, *self.validations) if is_number(entry.get(key))]
        return [entry['step'] for entry in entries], [float(entry[key]) for entry in entries]

    def layer_losses(self) -> dict[int, tuple[list[int], list[float]]]:
        """Decoder layer, from 0 -> steps and the sum of its losses for class and box.

        Weighted as in the loss; denoising is left out. Heads name the last layer's losses without
        a number.
        """
        curves: dict[int, tuple[list[int], list[float]]] = {}
        last = max((layer for entry in self.steps for layer, _ in _layers(entry) if layer is not None), default=-1) + 1
        for entry in self.steps:
            sums: dict[int, float] = {}
            for layer, value in _layers(entry):
                index = last if layer is None else layer
                sums[index] = sums.get(index, 0.0) + value
            for index, value in sums.items():
                steps, values = curves.setdefault(index, ([], []))
                steps.append(entry['step'])
                values.append(value)
        return dict(sorted(curves.items()))

    def metrics(self) -> list[str]:
        """Keys that a validation logged, without times."""
        keys = {key for entry in self.validations for key, value in entry.items() if is_number(value)}
        return sorted(keys - {'step', 'time', 'data_time', 'epoch', 'iter', 'memory'})


def is_number(value: Any) -> bool:
    """Whether a logged value is a number, NaN included."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _layers(entry: Entry) -> Iterator[tuple[int | None, float]]:
    for key, value in entry.items():
        found = LAYER_LOSS.match(key)
        if found and is_number(value):
            yield None if found[1] is None else int(found[1]), float(value)


def read_log(path: str | Path) -> TrainingLog:
    """Read what was logged in a work directory, over all its starts.

    A later start takes the place of what earlier ones logged from its first step on: after an
    interruption a run resumes from its checkpoint and repeats the steps since.

    Args:
        path: a work directory, the folder of one start in it, or a ``scalars.json``.

    Raises:
        DataError: nothing was logged there, or nothing that can be read.
    """
    path = Path(path)
    files = _files(path)
    steps: list[Entry] = []
    validations: list[Entry] = []
    unreadable: list[str] = []
    for file in files:
        entries = list(_read_lines(file, unreadable))
        trained = [entry for entry in entries if is_training(entry)]
        if trained:
            first = min(entry['step'] for entry in trained)
            steps = [entry for entry in steps if entry['step'] < first]
            validations = [entry for entry in validations if entry['step'] < first]
        steps += trained
        validations += _placed([entry for entry in entries if not is_training(entry)], [*steps])
    if not steps and not validations:
        number = f'{plural(len(unreadable), "line")} of it cannot be read' if unreadable else 'it is empty'
        raise DataError(
            f'{files[-1]}: {number}. A run writes its first line after default_hooks.logger.interval steps: '
            'wait for it, or leave this folder out'
        )
    in_work_dir = path.is_file() and path.parent.name == 'vis_data'
    folder = path.resolve().parents[2] if in_work_dir else path
    name = path.stem if path.is_file() and not in_work_dir else folder.resolve().name
    return TrainingLog(name, folder, _by_step(steps), _by_step(validations), len(files), tuple(unreadable))


def is_training(entry: Entry) -> bool:
    """Whether a line was logged in training; all others come from validations."""
    return 'loss' in entry or 'lr' in entry


def _files(path: Path) -> list[Path]:
    """The logs of a run, oldest first."""
    if path.is_file():
        return [path]
    found = sorted(path.glob(PATTERN)) or sorted(path.glob('vis_data/scalars.json'))
    if found:
        return found
    if not path.exists():
        raise DataError(f'{path} does not exist: name the work directory of a training run')
    inside = sorted({str(file.parents[2]) for file in path.glob(f'*/{PATTERN}')})
    if inside:
        raise DataError(
            f'{path} is no work directory, but holds {plural(len(inside), "one", "some")}: name {inside[0]}'
        )
    raise DataError(f'{path} has no {PATTERN}: name the work directory of a training run')


def _read_lines(file: Path, unreadable: list[str]) -> Iterator[Entry]:
    """The entries of a log; what is none of them is noted in ``unreadable``."""
    with file.open(encoding='utf-8', errors='replace') as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            if isinstance(entry, dict) and is_number(entry.get('step')) and math.isfinite(entry['step']):
                yield {**entry, 'step': int(entry['step'])}
            elif line.endswith('\n'):  # a last line without an end is being written
                unreadable.append(f'{file}:{number}')


def _placed(validations: Sequence[Entry], steps: Sequence[Entry]) -> list[Entry]:
    """Validations with the step after which they ran: MMEngine logs the epoch of those by epoch."""
    epochs = [entry for entry in steps if is_number(entry.get('epoch')) and entry['epoch'] >= 1]
    last = max((entry['epoch'] for entry in epochs), default=0)
    if not epochs or any(entry['step'] > last for entry in validations):
        return list(validations)
    # The step s belongs to epoch e where (e − 1) · length < s ≤ e · length.
    length = max(math.ceil(entry['step'] / entry['epoch']) for entry in epochs)
    return [{**entry, 'epoch': entry['step'], 'step': entry['step'] * length} for entry in validations]


def _by_step(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """By step; of two for the same step, the later one."""
    latest = {entry['step']: entry for entry in entries}
    return tuple(latest[step] for step in sorted(latest))
