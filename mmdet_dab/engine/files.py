"""Checkpoint files that are whole or not there, and the newest one that is whole."""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, join_path
from mmengine.runner import Runner

from mmdet_dab.errors import CheckpointError, listed

#: Ends the name of a file that is being written; one that stays behind was cut off.
PART = '.part'
#: Names the checkpoint that was saved last; mmengine reads it as well.
LAST = 'last_checkpoint'
#: A checkpoint that was saved because the training run was asked to stop.
STOPPED = 'stopped_iter_{}.pth'
#: Checkpoints that a training run can go on from; those of ``save_best`` have no optimizer.
RESUMABLE = re.compile(r'(epoch|iter|stopped_iter)_\d+\.pth')


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` write a file under another name, and give it its own once it is on the disk.

    Raises:
        OSError: it could not be written; what had the name before is still there.
    """
    part = path.with_name(path.name + PART)
    try:
        write(part)
        _to_disk(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_whole(runner: Runner, folder: str, name: str, backend_args: dict | None = None, **options: Any) -> None:
    """Let the Runner save a checkpoint, whole or not at all.

    All processes call it; the first one saves.

    Args:
        runner: saves its model and what else is asked for.
        folder: where. Stores other than the local disk write an object whole by themselves.
        name: of the file.
        backend_args: of mmengine's file backend.
        **options: as for ``Runner.save_checkpoint``.

    Raises:
        CheckpointError: it could not be written, for example because the disk is full.
    """
    prepare = getattr(runner.train_loop, 'prepare_save', None)
    if prepare is not None:
        prepare()
    if not isinstance(runner, Runner):
        _save_flexible(runner, join_path(folder, name, backend_args=backend_args), **options)
        return
    failure = None
    if is_main_process():
        failure = _save_here(runner, folder, name, backend_args, options)
    told = [failure]
    broadcast_object_list(told)
    if told[0]:
        # One message for all processes.
        raise CheckpointError(told[0]) if is_main_process() else SystemExit(2)


def _save_flexible(
    runner: Any,
    path: str,
    meta: dict[str, Any],
    by_epoch: bool = True,
    save_optimizer: bool = True,
    save_param_scheduler: bool = True,
) -> None:
    """What MMEngine's ``FlexibleRunner.save_checkpoint`` does, in all processes; but that replaces
    the epoch and the iteration in ``meta``.
    """
    meta.setdefault('epoch', runner.epoch + by_epoch)
    meta.setdefault('iter', runner.iter + (not by_epoch))
    meta.update(cfg=runner.cfg.pretty_text, experiment_name=runner.experiment_name)
    if hasattr(runner.train_dataloader.dataset, 'metainfo'):
        meta['dataset_meta'] = runner.train_dataloader.dataset.metainfo
    runner.strategy.save_checkpoint(
        filename=path,
        save_optimizer=save_optimizer,
        save_param_scheduler=save_param_scheduler,
        extra_ckpt={'meta': meta, 'message_hub': runner.message_hub.state_dict()},
        callback=lambda checkpoint: runner.call_hook('before_save_checkpoint', checkpoint=checkpoint),
    )


def _save_here(
    runner: Runner, folder: str, name: str, backend_args: dict | None, options: dict[str, Any]
) -> str | None:
    """Save from this process; what went wrong, or None."""
    if not isinstance(get_file_backend(folder, backend_args=backend_args), LocalBackend):
        runner.save_checkpoint(folder, name, backend_args=backend_args, **options)
        return None
    path = Path(folder) / name
    try:
        write_whole(path, lambda part: runner.save_checkpoint(str(part.parent), part.name, **options))
    except OSError as error:
        return unwritten(path, error)
    return None


def unwritten(path: Path, error: OSError) -> str:
    """What to say of a checkpoint that could not be written."""
    return (
        f'checkpoint {path} could not be written ({error.strerror or error}); earlier checkpoints are untouched. '
        'Make room, and go on from the last one with --resume'
    )


def note_last(work_dir: str, checkpoint: str) -> None:
    """Write the name of the last checkpoint where ``--resume`` looks for it."""
    write_whole(Path(work_dir) / LAST, lambda part: part.write_text(checkpoint))


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file as a file, or None: it is cut off, or was changed.

    Every part of a file of ``torch.save`` carries a checksum, which PyTorch itself does not
    look at.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except FileNotFoundError:
        return 'is not there'
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        return 'is cut off or damaged'
    return None if part is None else f'is damaged (in {part})'


def latest_checkpoint(work_dir: str | Path, say: Callable[[str], None] = print) -> Path | None:
    """The newest checkpoint in a work directory that is whole, or None where there is none at all.

    Args:
        work_dir: of the training run that shall go on. It may have been moved.
        say: is told of every damaged file that is passed over.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
    """
    passed: list[str] = []
    for path in _candidates(Path(work_dir)):
        wrong = damage(path)
        if wrong is None:
            for text in passed:
                say(f'checkpoint {text}: {path.name}, from before it, is taken')
            return path
        passed.append(f'{path} {wrong}')
    if passed:
        raise CheckpointError(
            f'no checkpoint in {work_dir} can be used: {listed(passed, 3)}. To start from the beginning, take another '
            '--work-dir'
        )
    return None


def _candidates(folder: Path) -> Iterator[Path]:
    """Checkpoints to try: the one that was noted last, and then the others, newest first."""
    try:
        noted = Path((folder / LAST).read_text().strip())
    except (OSError, ValueError):
        noted = folder
    first = folder / noted.name if (folder / noted.name).is_file() else noted
    if first != folder and first.suffix == '.pth':
        yield first
    folders = {folder, first.parent} if first.is_file() else {folder}
    others = [path for place in folders if place.is_dir() for path in place.iterdir() if RESUMABLE.fullmatch(path.name)]
    others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    yield from (path for path in others if path != first)
