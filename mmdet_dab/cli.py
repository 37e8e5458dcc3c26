"""What the tools share: configs read with the user's overrides, inputs checked before work starts.

Everything that is the user's to mend ends in a :class:`UsageError`, which :func:`run` prints as one
sentence; ``MMDET_DAB_TRACEBACK=1`` in the environment shows where it came from. So does a training that cannot go on.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from mmdet.registry import DATASETS as MMDET_DATASETS
from mmdet.registry import HOOKS as MMDET_HOOKS
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.registry import TASK_UTILS as MMDET_TASK_UTILS
from mmdet.registry import WEIGHT_INITIALIZERS as MMDET_WEIGHT_INITIALIZERS
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from mmdet_dab import registry
from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.errors import UserError
from mmdet_dab.hooks import NotFiniteError
from mmdet_dab.data.checks.config import check_config
from mmdet_dab.data.checks.finding import stop_at_errors

TRACEBACK = 'MMDET_DAB_TRACEBACK'


class UsageError(UserError):
    """The user gave something that cannot work; the message says what, and how to mend it."""


def run(main: Callable[[], None]) -> None:
    """Run a tool; mistakes in its input end it with exit code 2 and one sentence on stderr, a lost training with 1."""
    _forbid_unrestricted_unpickling()
    try:
        main()
    except UserError as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.exit(_complain(str(error)))
    except NotFiniteError as error:
        if os.environ.get(TRACEBACK):
            raise
        # All processes stop, and one of them says so. The input was usable: another exit code.
        if os.environ.get('RANK', '0') == '0':
            _complain(str(error))
        sys.exit(1)
    except URLError as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.exit(
            _complain(
                f'pretrained weights cannot be downloaded ({error.reason}): put the file into '
                f'{torch.hub.get_dir()}/checkpoints, or do without it by --cfg-options model.backbone.init_cfg=None'
            )
        )
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _complain(sentence: str) -> int:
    """Print the sentence; the exit code is that of argparse for wrong arguments."""
    print(f'error: {sentence}', file=sys.stderr)
    return 2


def _forbid_unrestricted_unpickling() -> None:
    """Make every ``torch.load`` of this process read weights only, as those of mmengine do not before torch 2.6."""
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)  # torch refuses to see both


# --- Arguments


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    add_override_argument(parser)


def add_override_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='values to override in the config, e.g. train_dataloader.batch_size=4; '
        'data_root=DIR moves every path of the config that lies in its data root',
    )


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the tools that build a Runner."""
    parser.add_argument(
        '--work-dir', help='where logs and checkpoints go; default: work_dirs/ and the name of the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument(
        '--no-data-checks',
        action='store_true',
        help='start without looking at the annotations for classes, ids and boxes',
    )


def add_optimize_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--optimize',
        nargs='?',
        const='float32',
        choices=['float32', 'bfloat16', 'float16'],
        help='fold batch norm and lay pictures out channels-last, which is faster; the precision is that of the '
        'backbone, float32 keeps the predictions as they are',
    )


# --- Configs


def load_config(path: str, options: Mapping[str, Any]) -> Config:
    """Read a config and apply ``--cfg-options`` to it.

    Args:
        path: The config file.
        options: Dotted keys and their values. Variables of a config are resolved while mmengine reads
            it, so that a later ``data_root`` would reach no data set; here it does: every string in
            the config that starts with the old root gets the new one, before the other options are set.

    Raises:
        UsageError: the file is missing or is no config; a key cannot be set; ``data_root`` is given but the
            config has none; a type of ours lacks its prefix.
    """
    if not Path(path).is_file():
        raise UsageError(f'config {path} does not exist')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program: anything may go wrong in it
        raise UsageError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error
    if 'data_root' in options:
        _move_data_root(cfg, path, str(options['data_root']))
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UsageError(f'--cfg-options does not fit config {path}: {error}') from error
    _check_prefixes(cfg, path)
    return cfg


def _move_data_root(cfg: Config, path: str, new_root: str) -> None:
    old_root = cfg.get('data_root')
    if not old_root:
        raise UsageError(
            f'config {path} has no top-level data_root that --cfg-options could replace: '
            'set the one of each data set, e.g. train_dataloader.dataset.data_root=DIR'
        )
    old, new = old_root.rstrip('/'), new_root.rstrip('/')

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == old or value.startswith(f'{old}/')):
            return new + value[len(old) :]
        if isinstance(value, dict):
            for key in value:
                value[key] = moved(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(moved(item) for item in value)
        return value

    for key in cfg:
        cfg[key] = moved(cfg[key])


def _walk(node: Any, key: str = '') -> Iterator[tuple[str, dict[str, Any]]]:
    """All dicts in a part of a config with their dotted keys, outermost first."""
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        yield key, node
        children = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    for name, child in children:
        yield from _walk(child, f'{key}.{name}' if key else str(name))


def _check_prefixes(cfg: Config, path: str) -> None:
    """Refuse ``type='X'`` where only ``'mmdet_dab.X'`` exists, in parts that are built hours later as well."""
    signposts = {
        name
        for node in (MMDET_DATASETS, MMDET_HOOKS, MMDET_MODELS, MMDET_TASK_UTILS, MMDET_WEIGHT_INITIALIZERS)
        for name, part in node.module_dict.items()
        if part.__module__ == registry.__name__
    }
    for key, node in _walk(dict(cfg.items())):
        if str(node.get('type')) in signposts:
            name = node['type']
            raise UsageError(
                f"config {path}: {key}.type='{name}' is a part of mmdet_dab, write '{registry.SCOPE}.{name}'"
            )


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The command line comes first, then the config, then a folder named after the config file."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def drop_averaging(cfg: Config) -> None:
    """Take out the hooks that average weights in training.

    The weights of their checkpoints are the average already, and swapping weights during a test fails where batch
    norm is folded into them.
    """
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook and hook['type'] == 'EMAHook']:
        hooks.pop(name)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']


def check_data(cfg: Config, *splits: str) -> None:
    """Find missing annotation files and image folders of ``'train'``, ``'val'`` or ``'test'`` before work starts.

    Raises:
        UsageError: names the path, its key and how to point the config at the data.
    """
    for section in [f'{split}_{part}' for split in splits for part in ('dataloader', 'evaluator')]:
        for key, node in _walk(cfg.get(section), section):
            if node.get('backend_args'):
                continue
            prefix = node.get('data_prefix') or {}
            for name, path in (('ann_file', node.get('ann_file')), ('data_prefix.img', prefix.get('img'))):
                if isinstance(path, str) and path:
                    _check_path(cfg, f'{key}.{name}', Path(node.get('data_root') or '') / path)


def check_annotations(cfg: Config, *splits: str) -> None:
    """Find what would cost AP in silence in the annotations of ``'train'``, ``'val'`` or ``'test'``; warn of the rest.

    Raises:
        DataError: a class that no category has, an id that repeats, boxes that are none and the like.
    """
    findings = check_config(cfg, splits)
    faults = [finding for finding in findings if finding.stops]
    for finding in findings:
        if os.environ.get('RANK', '0') == '0' and finding not in faults[:1]:
            print(f'{"error" if finding.stops else "warning"}: {finding}', file=sys.stderr)
    stop_at_errors(faults)


def _check_path(cfg: Config, key: str, path: Path) -> None:
    if path.exists() or ':/' in str(path):
        return
    root = cfg.get('data_root')
    if root:
        mend = f'set data_root with --cfg-options data_root=DIR, or link your data to {root}'
    else:
        mend = f'mend {key} in the config or with --cfg-options'
    raise UsageError(f'{path} does not exist ({key}): {mend}')


# --- Runner


def latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that a run in ``work_dir`` noted last, or None; the folder may have moved since."""
    latest = find_latest_checkpoint(work_dir)
    if latest is None or Path(latest).exists():
        return latest
    return str(Path(work_dir) / Path(latest).name)


def check_checkpoint(path: str) -> None:
    """Refuse a file that cannot be loaded, or must not be, before work starts; mmengine fetches what is a URL."""
    if '://' not in path:
        read_checkpoint(path)


def check_pretrained(cfg: Config) -> None:
    """The same for the files that ``init_cfg=dict(type='Pretrained', checkpoint=...)`` names anywhere in the model."""
    for key, node in _walk(cfg.get('model'), 'model'):
        path = node.get('checkpoint') if node.get('type') == 'Pretrained' else None
        if not isinstance(path, str):
            continue
        if path.startswith('torchvision://') and importlib.util.find_spec('torchvision') is None:
            raise UsageError(
                f"{key}.checkpoint='{path}' needs torchvision: pip install torchvision, name a file or URL instead, "
                f'or start from random weights with --cfg-options {key}=None'
            )
        check_checkpoint(path)


def build_runner(cfg: Config, launcher: str) -> Runner:
    """Build the Runner, or the ``runner_type`` of the config.

    Raises:
        UsageError: a part of the config refuses its arguments, or the launcher does not fit the machine.
    """
    cfg.launcher = launcher
    if launcher != 'none':
        _prepare_processes(cfg)
    try:
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise cannot_be_built(cfg, error) from error


def cannot_be_built(cfg: Config, error: Exception) -> UsageError:
    """The sentence for a config that a part refuses."""
    if error.args:
        reason = error.args[0]
    else:  # a bare assert says what it wants only in its own line
        line = traceback.extract_tb(error.__traceback__)[-1].line
        reason = f'{type(error).__name__} at `{line}`'
    return UsageError(f'config {cfg.filename} cannot be built: {reason} (set {TRACEBACK}=1 to see where)')


def _prepare_processes(cfg: Config) -> None:
    """Make processes on the CPU possible: mmengine's own start takes a CUDA device for each.

    mmengine leaves a process group alone that is there already, and a ``device_ids`` that is set.
    """
    if torch.cuda.is_available():
        devices, rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
        if rank >= devices:
            raise UsageError(f'process {rank} of this machine has no GPU, it has {devices}: start {devices} processes')
        return
    if cfg.launcher != 'pytorch' or 'RANK' not in os.environ:
        raise UsageError(
            f'--launcher {cfg.launcher} needs GPUs here: on the CPU, start processes with tools/dist_train.sh '
            'or tools/dist_test.sh'
        )
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        **(cfg.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }
    torch.distributed.init_process_group('gloo')
