"""Train the runs of a study with several seeds, and print a table of AP.

``python -m benchmarks.training road_shapes``

A study is a file in ``benchmarks/studies/``: which configs, with which options, on which budget.
Finished runs are kept in ``benchmarks/results/STUDY/SLUG-SEED.json``, so that an interrupted study
goes on; several processes may work on the same study. ``--publish`` draws its plot and writes its
table into its page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import matplotlib
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmdet_dab  # noqa: F401  makes mmdet importable without a compiled mmcv
from benchmarks import (
    instruments,  # noqa: F401  registers what studies name
    side_by_side,
)
from benchmarks.starts import with_parts
from mmdet_dab import cli
from mmdet_dab.config import load_config
from mmdet_dab.data.recipe import average_over, warm_up_of
from mmdet_dab.data.trial import measure_config
from mmdet_dab.errors import UserError
from mmdet_dab.launch import build_runner

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / 'benchmarks' / 'studies'
#: Finished runs; part of the repository, so that tables and plots can be drawn again without
#: training.
RESULTS = ROOT / 'benchmarks' / 'results'
WORK = ROOT / 'work_dirs' / 'studies'
#: Shorter training runs are validated twice.
SHORT = 1000


class Study:
    """A study: ``page``, ``seeds``, ``runs`` (label -> config, options, threads, parts) and
    ``options`` for all runs. Runs may have equal CPU time: so many ``minutes``, of one run or of
    all, or that of ``steps`` steps of the run ``pace``, which other work on the machine changes
    less.

    Args:
        name: of its file in ``benchmarks/studies``, without ``.py``.
    """

    def __init__(self, name: str) -> None:
        path = STUDIES / f'{name}.py'
        if not path.exists():
            found = ', '.join(sorted(file.stem for file in STUDIES.glob('*.py')))
            raise UserError(f'{path}: there is no such study. There are: {found}')
        # Not lazy: a study imports functions to call, not configs to refer to.
        settings = Config.fromfile(path, lazy_import=False)
        self.name = name
        self.page = ROOT / settings.page
        self.runs: dict[str, dict] = settings.runs
        self.seeds: list[int] = settings.seeds
        self.options: dict[str, Any] = settings.get('options', {})
        self.about: str = settings.about
        self.minutes: float | None = settings.get('minutes')
        self.pace: str | None = settings.get('pace')
        self.steps: int | None = settings.get('steps')

    def config(self, run: str, seed: int) -> Config:
        """The config of a run, without drawing and checkpoints."""
        chosen = self.runs[run]
        # A copy: what is merged into a config loses its `_delete_`.
        options = deepcopy({**self.options, **chosen.get('options', {}), 'randomness.seed': seed})
        cfg = with_parts(load_config(str(ROOT / chosen['config']), options), chosen.get('parts', ()))
        cfg.work_dir = str(self.work(run, seed))
        cfg.default_hooks.visualization.draw = False
        if not chosen.get('keep_checkpoint'):
            cfg.default_hooks.checkpoint.update(interval=10**9, save_best=None, save_last=False)
        # Batches are made in the process of the training, so that its CPU time is all that the run
        # took.
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.update(num_workers=0, persistent_workers=False)
        return cfg

    def file(self, run: str, seed: int) -> Path:
        """Where the result of a run is kept; the label of the run is in the file."""
        return RESULTS / self.name / f'{slug(run)}-{seed}.json'

    def work(self, run: str, seed: int) -> Path:
        """The folder of a run's training."""
        return WORK / self.name / f'{slug(run)}-{seed}'

    def missing(self, names: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Runs that are not finished, seed by seed: all runs have one result before any has two."""
        for seed in seeds:
            for run in names:
                if not self.file(run, seed).exists():
                    yield run, seed

    def results(self, run: str) -> list[dict]:
        """The finished runs of all seeds."""
        return [json.loads(path.read_text()) for seed in self.seeds if (path := self.file(run, seed)).exists()]


def slug(label: str) -> str:
    """A label as part of a file name: ``1-focal-loss`` for ``1 + focal loss``."""
    return re.sub(r'[^a-z0-9.]+', '-', label.lower()).strip('-')


class CurveHook(Hook):
    """Records AP at every validation, with the seconds of training until then, validation not
    counted.

    Args:
        threads: of the training. One thread is timed by its CPU time, which other processes on the
            machine hardly change; several threads, which wait for each other, by the clock.
    """

    priority = 'LOWEST'

    def __init__(self, threads: int = 1) -> None:
        self.points: list[dict[str, float]] = []
        self.outside = 0.0
        self.now = time.process_time if threads == 1 else time.perf_counter

    def before_train(self, runner: Runner) -> None:
        self.start = self.now()

    def before_val(self, runner: Runner) -> None:
        self.pause = self.now()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        found = metrics or {}
        point = {
            'step': runner.iter,
            'seconds': self.pause - self.start - self.outside,
            'AP': found['coco/bbox_mAP'],
            'AP50': found['coco/bbox_mAP_50'],
        }
        self.points.append({key: round(value, 4) for key, value in point.items()})

    def after_val(self, runner: Runner) -> None:
        self.outside += self.now() - self.pause


def train(study: Study, run: str, seed: int) -> None:
    """Train one run in this process, and keep its curve in the results of the study."""
    threads = study.runs[run].get('threads', 1)
    torch.set_num_threads(threads)
    cfg = study.config(run, seed)
    if (steps := steps_of(study, run, cfg)) is not None:
        set_steps(cfg, steps)
    runner = build_runner(cfg, 'none')
    curve = CurveHook(threads)
    runner.register_hook(curve)
    runner.train()
    result = {'label': run, 'seed': seed, 'curve': curve.points, 'machine': side_by_side.machine(threads)}
    path = study.file(run, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + '\n')


def steps_of(study: Study, run: str, cfg: Config) -> int | None:
    """How many steps a run of equal time gets, by a trial; None where the config says it."""
    minutes = study.runs[run].get('minutes', study.minutes)
    if minutes is not None:
        return int(60 * minutes / measure_config(cfg, time.process_time).step)
    if study.pace is None or run == study.pace:
        return study.steps
    base = study.config(study.pace, cfg.randomness.seed)
    # In turns, so that whatever else the machine does changes both.
    seconds = [[measure_config(each, time.process_time).step for each in (base, cfg)] for _ in range(2)]
    return round(study.steps * sum(of_base for of_base, _ in seconds) / sum(of_run for _, of_run in seconds))


def set_steps(cfg: Config, steps: int) -> None:
    """Give a training run a number of steps, and all that follows from it: warm-up, cosine, average
    of the weights, validations at half time, or at every fifth of a longer run.

    Args:
        cfg: of a recipe in ``configs/_base_/recipes``.
    """
    validations = 2 if steps < SHORT else 5
    cfg.train_cfg = dict(type='ResumableIterLoop', max_iters=steps, val_interval=max(1, -(-steps // validations)))
    cosine = dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=steps, eta_min_ratio=0.01)
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=warm_up_of(steps)), cosine]
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.log_metric_by_epoch = False
    checkpoint = cfg.default_hooks.checkpoint
    checkpoint.update(by_epoch=False, interval=max(checkpoint.interval, cfg.train_cfg.val_interval))
    cfg.default_hooks.ema.momentum = average_over(steps)


def train_missing(study: Study, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train all runs that are neither finished nor in progress in another process."""
    (WORK / study.name).mkdir(parents=True, exist_ok=True)
    for run, seed in study.missing(names, seeds):
        lock = study.work(run, seed).with_suffix('.pid')
        if study.file(run, seed).exists() or not take(lock):
            continue
        try:
            start = time.perf_counter()
            command = [sys.executable, '-m', 'benchmarks.training', study.name, '--only', run, '--seeds', str(seed)]
            log = study.work(run, seed).with_suffix('.log')
            with log.open('w') as out:
                code = subprocess.run([*command, '--here'], cwd=ROOT, stdout=out, stderr=out, check=False).returncode
            if code:
                print(f'{study.name}: {run}, seed {seed}: failed, see {log}', flush=True)
                continue
            last = json.loads(study.file(run, seed).read_text())['curve'][-1]
            print(
                f'{study.name}: {run}, seed {seed}: AP {last["AP"]:.3f}, AP50 {last["AP50"]:.3f} '
                f'({last["seconds"]:.0f} s of training, {time.perf_counter() - start:.0f} s in all)',
                flush=True,
            )
        finally:
            lock.unlink()


def take(lock: Path) -> bool:
    """Whether this process got the lock; a lock of a process that has ended does not count."""
    try:
        with lock.open('x') as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        holder = lock.read_text()
        if not holder or Path(f'/proc/{holder}').exists():
            return False
        lock.write_text(str(os.getpid()))
    return True


# --- Results


def at(curve: Sequence[dict], part: float, key: str) -> float | None:
    """The value at the last validation within this share of the steps, or None before the first
    one.
    """
    within = [point for point in curve if point['step'] <= part * curve[-1]['step'] + 0.5]
    return within[-1][key] if within else None


def same_steps(curves: Sequence[Sequence[dict]]) -> list[tuple[dict, ...]]:
    """The points at steps that all curves have; of runs of equal time, whose steps differ, those at
    the same share of the run.
    """
    if len({curve[-1]['step'] for curve in curves}) > 1:
        return list(zip(*curves, strict=True))
    common = set.intersection(*({point['step'] for point in curve} for curve in curves))
    return list(zip(*([point for point in curve if point['step'] in common] for curve in curves), strict=True))


def spread(values: Sequence[float | None]) -> str:
    """Mean, least and greatest; a dash where a value is missing."""
    if None in values:
        return '—'
    found = [max(value, 0.0) for value in values if value is not None]  # COCO's -1: no predictions
    mean = f'{statistics.mean(found):.3f}'
    return mean if len(found) == 1 else f'{mean} ({min(found):.3f} – {max(found):.3f})'


def table(study: Study) -> str:
    """AP after a quarter, half and all of the budget."""
    rows = []
    for run in study.runs:
        curves = [result['curve'] for result in study.results(run)]
        if not curves:
            continue
        cells = [spread([at(curve, part, 'AP') for curve in curves]) for part in (0.25, 0.5, 1)]
        seconds = statistics.mean(curve[-1]['seconds'] for curve in curves)
        cells += [spread([curve[-1]['AP50'] for curve in curves]), f'{seconds:.0f} s', str(len(curves))]
        rows.append((run, *cells))
    header = ('', 'AP after ¼', 'AP after ½', 'AP at the end', 'AP50 at the end', 'training', 'seeds')
    return side_by_side.table(header, rows)


def report(study: Study, names: Sequence[str], seeds: Sequence[int]) -> str:
    """The table, with a line for what is still missing."""
    missing = [f'{run}, seed {seed}' for run, seed in study.missing(names, seeds)]
    lines = [study.about, '', table(study)]
    if missing:
        lines += ['', f'missing: {"; ".join(missing)}']
    return '\n'.join(lines)


def plot(study: Study, path: Path) -> None:
    """Draw AP over time: the mean of the seeds, and a band from the least to the greatest.

    Where runs were trained on different kinds of machines, AP is drawn over steps.
    """
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    names = [run for run in study.runs if study.results(run)]
    alike = len(by_machine(study)) == 1
    key, unit, label = ('seconds', 60, 'minutes of training') if alike else ('step', 1, 'steps of training')
    colours = plt.get_cmap('turbo')([(index + 0.5) / len(names) for index in range(len(names))])
    figure, axes = plt.subplots(figsize=(9, 5.5))
    for name, colour in zip(names, colours, strict=True):
        points = same_steps([result['curve'] for result in study.results(name)])
        places = [statistics.mean(point[key] for point in same) / unit for same in points]
        values = [[max(point['AP'], 0) for point in same] for same in points]
        mean = [statistics.mean(same) for same in values]
        axes.plot(places, mean, color=colour, marker='.', label=f'{name}: {mean[-1]:.3f}')
        axes.fill_between(places, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, lw=0)
    axes.set(xlabel=label, ylabel='AP on val', xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(title='mean AP at the end', fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def by_machine(study: Study) -> dict[str, dict[str, str]]:
    """Kind of machine and number of threads -> runs on it, each with the description in its first
    result.
    """
    found: dict[str, dict[str, str]] = {}
    for run in study.runs:
        for result in study.results(run):
            # The speed of a machine, which follows, changes from day to day.
            kind = result['machine'].split(' GFLOPS')[0].rpartition(', ')[0]
            found.setdefault(kind, {}).setdefault(run, result['machine'])
    return found


def machines(study: Study) -> str:
    """The machine of the runs; machines with their runs where they differ and times cannot be
    compared, without them where seeds of one run were trained on several.
    """
    found = [(next(iter(runs.values())), list(runs)) for runs in by_machine(study).values()]
    if len(found) == 1:
        return found[0][0]
    labels = [label for _, runs in found for label in runs]
    if len(set(labels)) < len(labels):
        return ', or '.join(machine for machine, _ in found) + ' (some seeds here, some there: times do not compare)'
    return '. '.join(f'{machine}: {", ".join(runs)}' for machine, runs in found)


def publish(study: Study) -> None:
    """Draw the plot beside the page of the study, and write the table between the marks in the
    page.
    """
    image = ROOT / 'docs' / 'images' / f'{study.name}.png'
    plot(study, image)
    text = (
        f'![AP over the training]({os.path.relpath(image, study.page.parent)})\n\n{table(study)}\n\n'
        f'{study.about} Mean of the seeds, least and greatest in brackets. {machines(study)}. '
        f'`python -m benchmarks.training {study.name}` trains the runs that are missing in '
        f'`benchmarks/results/{study.name}` and prints the table; `--publish` updates this section.'
    )
    side_by_side.write_between_marks(study.page, study.name, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('study', help='name of a file in benchmarks/studies')
    parser.add_argument('--only', nargs='+', metavar='RUN', help='these runs of the study')
    parser.add_argument('--seeds', nargs='+', type=int, help='these seeds; default: those of the study')
    parser.add_argument('--publish', action='store_true', help='update the page; no training')
    parser.add_argument('--here', action='store_true', help='train here, also what is finished or in progress')
    args = parser.parse_args()
    study = Study(args.study)
    names, seeds = args.only or list(study.runs), args.seeds or study.seeds
    if unknown := set(names) - set(study.runs):
        raise UserError(
            f'--only {sorted(unknown)[0]}: study {study.name} has no such run. It has: {", ".join(study.runs)}'
        )
    if args.publish:
        publish(study)
    elif args.here:
        for name in names:
            for seed in seeds:
                train(study, name, seed)
    else:
        train_missing(study, names, seeds)
        print(report(study, names, seeds))


if __name__ == '__main__':
    sys.exit(cli.run(main))
