"""What a command needs is checked before work starts: files first, then their contents.

Whether files are there is found out before torch and mmdet are imported, which takes seconds.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_dab import regular_files
from mmdet_dab.console import complain
from mmdet_dab.errors import CheckpointError, ConfigError, DataError, InstallError, UserError
from mmdet_dab.overrides import walk

if TYPE_CHECKING:
    from mmengine.config import Config


#: Visualizer backends of MMEngine that need a package -> the module that it is imported as, and
#: what to install.
BACKENDS = {
    'TensorboardVisBackend': ('tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
}


def check_backends(cfg: Config) -> None:
    """Find visualizer backends whose package is missing: MMEngine would find out in the first step.

    Raises:
        InstallError: names the key, the backend and what to install.
    """
    for key, node in walk(cfg.get('visualizer'), 'visualizer'):
        name = str(node.get('type')).rpartition('.')[2]
        module, package = BACKENDS.get(name, (None, None))
        if module is not None and importlib.util.find_spec(module) is None:
            raise InstallError(
                f'config {cfg.filename}: {key} is {name}, which needs the package {package}: '
                f'pip install {package}, or take it out of visualizer.vis_backends'
            )


def check_drawing(cfg: Config, *splits: str) -> None:
    """Refuse to draw images that are in no file.

    The hook reads them again, and would fail at the first of them, after the training until then.

    Raises:
        ConfigError: names the hook and the split.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    for split in splits if hook.get('draw') else ():
        for _, node in walk(cfg.get(f'{split}_dataloader'), split):
            if str(node.get('type')).endswith('LoadImageFromNDArray'):
                raise ConfigError(
                    f'config {cfg.filename}: default_hooks.visualization.draw (--show-dir) reads images from files, '
                    f'and those of {split}_dataloader are in none: leave it out; `mmdet-dab demo` draws theirs'
                )


def check_data(cfg: Config, *splits: str) -> None:
    """Find missing annotation files and image folders of ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        DataError: names the path, its key and how to point the config at the data.
    """
    for section in [f'{split}_{part}' for split in splits for part in ('dataloader', 'evaluator')]:
        for key, node in walk(cfg.get(section), section):
            if node.get('backend_args'):
                continue
            prefix = node.get('data_prefix') or {}
            for name, path in (('ann_file', node.get('ann_file')), ('data_prefix.img', prefix.get('img'))):
                if isinstance(path, str) and path:
                    _check_path(cfg, f'{key}.{name}', Path(node.get('data_root') or '') / path)


def _check_path(cfg: Config, key: str, path: Path) -> None:
    if path.exists() or ':/' in str(path):
        return
    root = cfg.get('data_root')
    if root:
        fix = f'set data_root with --cfg-options data_root=DIR, or link your data to {root}'
    else:
        fix = f'correct {key} in the config or with --cfg-options'
    raise DataError(f'{path} does not exist ({key}): {fix}')


def check_annotations(cfg: Config, *splits: str) -> None:
    """Find what would silently lower AP in the annotations of some splits; warn of the rest.

    Raises:
        DataError: a class that no category has, an id that repeats, invalid boxes and the like.
    """
    from mmdet_dab.data.checks.config import check_config
    from mmdet_dab.data.checks.finding import stop_at_errors

    findings = check_config(cfg, splits)
    errors = [finding for finding in findings if finding.stops]
    for finding in findings:
        if finding not in errors[:1]:
            complain(f'{"error" if finding.stops else "warning"}: {finding}')
    stop_at_errors(errors)


def check_schedule(cfg: Config) -> None:
    """Refuse a schedule that ends before it begins, as one does that was made shorter than its
    warm-up.

    Raises:
        ConfigError: names the key and both ends.
    """
    schedulers = cfg.get('param_scheduler') or []
    for index, scheduler in enumerate(schedulers if isinstance(schedulers, list | tuple) else [schedulers]):
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if isinstance(end, int) and end <= begin:
            raise ConfigError(
                f'config {cfg.filename}: param_scheduler.{index} ({scheduler.get("type")}) begins at {begin} and ends '
                f'at {end}: train longer, or shorten what comes before it with --cfg-options '
                f'param_scheduler.{index}.begin=N'
            )


def check_file(path: str) -> None:
    """Refuse a checkpoint that is no file, or empty; mmengine fetches what is a URL."""
    if '://' not in path:
        regular_files.check_file(path, 'checkpoint', CheckpointError)


def check_checkpoint(path: str) -> None:
    """Refuse a checkpoint that cannot be loaded, or must not be; one on the hub is fetched into the
    cache."""
    from mmdet_dab.checkpoints.hub import is_address, look_at
    from mmdet_dab.checkpoints.local import load_local

    if is_address(path):
        look_at(path)
    elif '://' not in path:
        load_local(path)


def check_device(name: str) -> None:
    """Refuse a device that is misspelt, or that this machine has not got.

    Raises:
        UserError: names what there is.
    """
    import torch

    devices = ['cpu', *(f'cuda:{index}' for index in range(torch.cuda.device_count()))]
    there = name in devices or (name == 'cuda' and len(devices) > 1)
    if not there:
        raise UserError(f'--device {name}: this machine has {", ".join(devices)}. Write one of them.')


def check_pretrained(cfg: Config) -> None:
    """The same for the files that ``init_cfg=dict(type='Pretrained', …)`` names in the model."""
    for key, node in walk(cfg.get('model'), 'model'):
        path = node.get('checkpoint') if node.get('type') == 'Pretrained' else None
        if not isinstance(path, str):
            continue
        if path.startswith('torchvision://') and importlib.util.find_spec('torchvision') is None:
            raise ConfigError(
                f"{key}.checkpoint='{path}' needs torchvision: pip install torchvision, name a file or URL instead, "
                f'or start from random weights with --cfg-options {key}=None'
            )
        check_checkpoint(path)
