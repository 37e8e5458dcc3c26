"""Kill training runs, let them go on, and compare: ``python -m benchmarks.interruptions``.

Each variant is a small detector with denoising and averaged weights, trained on augmented drawn
images. It is trained once undisturbed, and then again and again with kills at drawn moments: at a
drawn time, or when it has just begun to load, compute, save or validate. What it leaves in the end
must be the same to the bit: weights, averages, optimizer, schedules, logged losses, best
checkpoint, names of the files.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import runner as mmengine_runner

from benchmarks.side_by_side import ROOT
from mmdet_dab import cli, launch
from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.engine import latest_checkpoint
from mmdet_dab.errors import UserError
from mmdet_dab.registry import HOOKS

RESULTS = ROOT / 'benchmarks' / 'results' / 'interruptions' / 'campaign.json'
#: Images in an epoch, and in a step of all processes.
IMAGES, BATCH, EPOCHS = 48, 4, 3
#: What differs between any two training runs: times, paths, and texts that hold them.
TIMES = {'time', 'data_time', 'eta', 'cfg', 'experiment_name', 'mmengine_version', 'last_ckpt', 'memory'}
#: Both ends of a pipe through which the first process tells its port, in so many bytes, and how
#: long the others wait for it.
Pipe = tuple[int, int]
PORT, SECONDS_TO_MEET = 2, 60
#: Where a kill may wait for its moment.
STAGES = ('loading', 'computing', 'saving', 'validating')


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        loop: ``'epoch'`` or ``'iter'``.
        workers: that load and augment, for each process.
        processes: that train.
        accumulate: steps that gather gradients for one update.
    """

    loop: str
    workers: int
    processes: int
    accumulate: int = 1

    @property
    def name(self) -> str:
        """For folders and the report."""
        extra = f'-accumulate{self.accumulate}' if self.accumulate > 1 else ''
        return f'{self.loop}-{self.workers}workers-{self.processes}processes{extra}'


VARIANTS = [
    *(Variant(*parts) for parts in itertools.product(('epoch', 'iter'), (0, 2), (1, 2))),
    Variant('epoch', 0, 1, 5),
    Variant('epoch', 2, 2, 3),
]


def config_of(variant: Variant, work_dir: Path) -> Config:
    """The training run of a variant: 36 steps, three validations."""
    config = Config.fromfile(ROOT / 'configs' / 'mix' / 'dn_detr_shapes_5min.py')
    augmented = [
        dict(type='LoadImageFromNDArray'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='RandomResize', scale=(64, 64), ratio_range=(0.8, 1.2), keep_ratio=True),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackDetInputs'),
    ]
    by_epoch = variant.loop == 'epoch'
    steps = IMAGES // BATCH
    config.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            train_dataloader=dict(
                batch_size=BATCH // variant.processes,
                num_workers=variant.workers,
                persistent_workers=variant.workers > 0,
                sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
                dataset=dict(num_images=IMAGES, pipeline=augmented),
            ),
            val_dataloader=dict(batch_size=4, dataset=dict(num_images=8)),
            custom_hooks=[
                *config.get('custom_hooks', []),
                dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.01),
                dict(type='mmdet_dab.StageHook'),
            ],
            optim_wrapper=dict(accumulative_counts=variant.accumulate),
            log_processor=dict(by_epoch=by_epoch),
            log_level='WARNING',
        )
    )
    config.train_cfg = (
        dict(type='mmdet_dab.ResumableEpochLoop', max_epochs=EPOCHS)
        if by_epoch
        else dict(type='mmdet_dab.ResumableIterLoop', max_iters=EPOCHS * steps, val_interval=steps)
    )
    config.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
        dict(type='MultiStepLR', by_epoch=by_epoch, milestones=[2 if by_epoch else 2 * steps], gamma=0.1),
    ]
    config.default_hooks.checkpoint = dict(
        type='mmdet_dab.SafeCheckpointHook',
        # In the middle of epochs where workers load, and between them where none do.
        **(dict(interval=1) if by_epoch and not variant.workers else dict(by_epoch=False, interval=5)),
        max_keep_ckpts=2,
        save_best='coco/bbox_mAP',
        rule='greater',
    )
    config.default_hooks.resume = dict(type='mmdet_dab.ResumeHook')
    return config


@HOOKS.register_module()
class StageHook(Hook):
    """Writes what the first process is doing into the file ``stage`` of the work directory."""

    priority = 'LOWEST'

    def before_run(self, runner: Any) -> None:
        """Open the file."""
        self._file = os.open(Path(runner.work_dir) / 'stage', os.O_WRONLY | os.O_CREAT) if runner.rank == 0 else None

    def _write(self, runner: Any, stage: str) -> None:
        if self._file is not None:
            os.pwrite(self._file, f'{runner.iter:5} {stage:12}'.encode(), 0)

    def before_train_epoch(self, runner: Any) -> None:
        """Workers start."""
        self._write(runner, 'loading')

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Forward, backward, update."""
        self._write(runner, 'computing')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """On to the next batch."""
        self._write(runner, 'loading')

    def before_save_checkpoint(self, runner: Any, checkpoint: Mapping[str, Any]) -> None:
        """The file is written next."""
        self._write(runner, 'saving')

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """A validation is under way."""
        self._write(runner, 'validating')


# --- Processes


def train(variant: Variant, work_dir: Path, rank: int, told: Pipe) -> None:
    """Train in this process as ``mmdet-dab train --resume`` does."""
    torch.set_num_threads(1)
    config = config_of(variant, work_dir)
    latest = latest_checkpoint(work_dir)
    if latest is not None:
        config.resume, config.load_from = True, str(latest)
    # It asks the machine for compilers, which takes longer than the training run.
    mmengine_runner.collect_env = dict
    with met(rank, variant.processes, told) as launcher:
        launch.build_runner(config, launcher).train()


@contextlib.contextmanager
def met(rank: int, processes: int, told: Pipe) -> Iterator[str]:
    """Say to this process what torchrun would say; the launcher to train with.

    The first process takes a port for the store in which they meet, and tells it to the others:
    nobody can take it before it is used.
    """
    if processes == 1:
        yield 'none'
        return
    if rank == 0:
        store = torch.distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
        for _ in range(processes):
            os.write(told[1], store.port.to_bytes(PORT, 'big'))
    if not select.select([told[0]], [], [], SECONDS_TO_MEET)[0]:
        raise TimeoutError('the first process has not begun')
    words = dict(
        RANK=rank,
        LOCAL_RANK=rank,
        WORLD_SIZE=processes,
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=int.from_bytes(os.read(told[0], PORT), 'big'),
        TORCHELASTIC_USE_AGENT_STORE=True,  # which none of them makes another time
        TORCHELASTIC_RESTART_COUNT=0,
    )
    os.environ.update({name: str(value) for name, value in words.items()})
    yield 'pytorch'


def start(variant: Variant, work_dir: Path) -> list[int]:
    """Start the processes of a training run, as a group named after the first; their ids.

    They are forked: with everything imported, a training run begins at once.
    """
    told = os.pipe()
    pids: list[int] = []
    for rank in range(variant.processes):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setpgid(0, pids[0] if pids else 0)
                log = os.open(work_dir / 'output.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                train(variant, work_dir, rank, told)
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        pids.append(pid)
        with contextlib.suppress(OSError):  # whoever of the two comes first
            os.setpgid(pid, pids[0])
    for end in told:
        os.close(end)
    return pids


def wait(pids: Sequence[int]) -> list[int]:
    """Wait for processes; their exit codes, negative for signals."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def ended(pids: Sequence[int]) -> bool:
    """Whether the first of the processes has ended; it is left for :func:`wait`."""
    return os.waitid(os.P_PID, pids[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stage_of(work_dir: Path) -> tuple[int, str]:
    """The iteration and what is done in it; before the first one ``(-1, 'starting')``."""
    try:
        number, stage = (work_dir / 'stage').read_text().split()
    except (OSError, ValueError):
        return -1, 'starting'
    return int(number), stage


# --- Kills


@dataclass(frozen=True)
class Kill:
    """One interruption, as it went.

    Attributes:
        variant: name of the training run.
        how: ``'SIGKILL'`` of all processes, ``'SIGKILL one'`` of the first alone, or ``'SIGTERM'``.
        waited_for: the stage that it waited for, or ``'time'``.
        iteration: and ``stage``: where the training run was.
        seconds: since the start of the processes.
    """

    variant: str
    how: str
    waited_for: str
    iteration: int
    stage: str
    seconds: float


def kill(variant: Variant, work_dir: Path, pids: Sequence[int], seconds: float, draw: random.Random) -> Kill | None:
    """Interrupt a training run at a drawn moment.

    Args:
        variant: that trains.
        work_dir: of the training run.
        pids: of its processes.
        seconds: that a whole training run takes.
        draw: gives the moment.

    Returns:
        where it was, or None where it ended before.
    """
    began = time.monotonic()
    waited_for = draw.choice(['time', *STAGES])
    how = draw.choices(['SIGKILL', 'SIGKILL one', 'SIGTERM'], [8, 1, 1])[0]
    moment = began + draw.uniform(0, 0.7) * seconds
    times = draw.randint(1, 12 if waited_for in ('loading', 'computing') else 3)
    first = last = stage_of(work_dir)
    while not ended(pids):
        now = stage_of(work_dir)
        if waited_for == 'time':
            if time.monotonic() >= moment:
                break
        elif now != last and now[1] == waited_for and now != first:
            times -= 1
            if times == 0:
                time.sleep(draw.uniform(0, 0.03))
                break
        last = now
        time.sleep(0.0005)
    else:
        return None
    iteration, stage = stage_of(work_dir)
    if stage_of(work_dir) == first and waited_for == 'time':
        stage = 'starting'
    if how == 'SIGKILL one':
        os.kill(pids[0], signal.SIGKILL)
        # What torchrun does to the others.
        time.sleep(0.2)
    if how == 'SIGTERM':
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        codes = wait(pids)
        if codes[0] not in (0, 143, -signal.SIGTERM):
            raise RuntimeError(f'{variant.name}: exit codes {codes} after SIGTERM, see {work_dir}/output.txt')
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pids[0], signal.SIGKILL)
        wait(pids)
    return Kill(variant.name, how, waited_for, iteration, stage, round(time.monotonic() - began, 2))


# --- Comparison


def outcome(work_dir: Path) -> dict[str, Any]:
    """What a training run leaves: its checkpoints by name, without times and paths."""
    files = sorted(path.name for path in work_dir.glob('*.pth*'))
    return {'files': files, **{name: plain(read_checkpoint(work_dir / name)) for name in files}}


def plain(value: Any) -> Any:
    """Without times and paths; logged values as arrays."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items() if str(key).rpartition('/')[2] not in TIMES}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, HistoryBuffer):
        return value.data[0]
    return Path(value).name if isinstance(value, str) else value


def differences(ours: Any, reference: Any, key: str = '') -> Iterator[str]:
    """Keys whose values are not the same to the bit."""
    if isinstance(ours, Mapping) and isinstance(reference, Mapping):
        for name in sorted({*ours, *reference}, key=str):
            yield from differences(ours.get(name), reference.get(name), f'{key}/{name}')
    elif isinstance(ours, list) and isinstance(reference, list) and len(ours) == len(reference):
        for number, pair in enumerate(zip(ours, reference, strict=True)):
            yield from differences(*pair, f'{key}/{number}')
    elif not same(ours, reference):
        yield key


def same(ours: Any, reference: Any) -> bool:
    """Whether two values are of one type and equal to the bit."""
    if isinstance(ours, torch.Tensor) and isinstance(reference, torch.Tensor):
        if (ours.shape, ours.dtype) != (reference.shape, reference.dtype):
            return False
        return torch.equal(*(tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in (ours, reference)))
    if isinstance(ours, np.ndarray) and isinstance(reference, np.ndarray):
        return ours.tobytes() == reference.tobytes()
    return type(ours) is type(reference) and ours == reference


# --- Campaign


def undisturbed(variant: Variant, folder: Path) -> tuple[dict[str, Any], float]:
    """Train once; what comes out, and the seconds."""
    work_dir = folder / f'{variant.name}-undisturbed'
    work_dir.mkdir()
    began = time.monotonic()
    codes = wait(start(variant, work_dir))
    if any(codes):
        raise RuntimeError(f'{variant.name}: exit codes {codes}, see {work_dir}/output.txt')
    return outcome(work_dir), time.monotonic() - began


def campaign(variant: Variant, kills: int, folder: Path, draw: random.Random) -> tuple[list[Kill], list[str], int]:
    """Kill a variant so many times; the kills, the differences, and the number of training runs."""
    reference, seconds = undisturbed(variant, folder)
    done: list[Kill] = []
    wrong: list[str] = []
    for number in itertools.count():
        work_dir = folder / f'{variant.name}-{number}'
        work_dir.mkdir()
        while True:
            pids = start(variant, work_dir)
            killed = kill(variant, work_dir, pids, seconds, draw) if len(done) < kills else None
            if killed is not None:
                done.append(killed)
                continue
            codes = wait(pids)
            if any(codes):
                raise RuntimeError(f'{variant.name}: exit codes {codes}, see {work_dir}/output.txt')
            break
        found = list(differences(outcome(work_dir), reference))
        wrong += [f'{variant.name}-{number}{key}' for key in found]
        if not found:
            shutil.rmtree(work_dir)
        if len(done) >= kills:
            return done, wrong, number + 1
    raise AssertionError


@dataclass(frozen=True)
class Result:
    """What became of a variant: the kills, and keys that differ, in so many training runs."""

    variant: str
    seed: int
    training_runs: int
    differences: Sequence[str]
    kills: Sequence[Kill]


def save(result: Result) -> None:
    """Put a variant's result in the place of its last one, among those of the others."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    stored[result.variant] = {name: value for name, value in asdict(result).items() if name != 'variant'}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(stored, indent=1) + '\n')


def report(results: Sequence[Result]) -> None:
    """Print what was done and what came out."""
    kills = [entry for result in results for entry in result.kills]
    wrong = [key for result in results for key in result.differences]
    runs = sum(result.training_runs for result in results)
    print(f'{len(kills)} kills in {runs} training runs: {len(wrong)} differences')
    for title, part in (('how', 'how'), ('at', 'stage'), ('in', 'variant')):
        counts = Counter(getattr(entry, part) for entry in kills)
        print(f'  {title}: ' + ', '.join(f'{name} {count}' for name, count in counts.most_common()))
    for key in wrong[:40]:
        print(f'  differs: {key}')


def main() -> None:
    """Run the campaign; the exit code is 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0, help='draws the moments')
    parser.add_argument('--only', nargs='+', metavar='VARIANT', help='names of variants; default: all')
    parser.add_argument('--folder', type=Path, help='keep the work directories of training runs that differ there')
    parser.add_argument('--save', action='store_true', help=f'write the kills to {RESULTS.relative_to(ROOT)}')
    args = parser.parse_args()
    names = [variant.name for variant in VARIANTS]
    if unknown := set(args.only or ()) - set(names):
        raise UserError(f'--only {sorted(unknown)[0]}: there is no such variant, but {", ".join(names)}')
    variants = [variant for variant in VARIANTS if args.only is None or variant.name in args.only]
    folder = args.folder or Path(tempfile.mkdtemp(prefix='interruptions-'))
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    began = time.monotonic()
    for number, variant in enumerate(variants):
        share = args.kills // len(variants) + (number < args.kills % len(variants))
        # Moments of its own: one variant after another, or by itself, is the same campaign.
        draw = random.Random(f'{args.seed} {variant.name}')
        kills, wrong, runs = campaign(variant, share, folder, draw)
        print(f'{variant.name}: {len(kills)} kills, {len(wrong)} differences', flush=True)
        results.append(Result(variant.name, args.seed, runs, wrong, kills))
        if args.save:
            save(results[-1])
    report(results)
    print(f'{time.monotonic() - began:.0f} s')
    wrong = [key for result in results for key in result.differences]
    if not args.folder and not wrong:
        shutil.rmtree(folder)
    sys.exit(bool(wrong))


if __name__ == '__main__':
    sys.exit(cli.run(main))
