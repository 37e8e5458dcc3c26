"""From the name of a config to a config in memory, and on to a detector.

Imports nothing heavy by itself.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdet_dab import compat
from mmdet_dab.config_files import CONFIGS, config_names, find_config
from mmdet_dab.console import say
from mmdet_dab.errors import CheckpointError, ConfigError, InstallError, TrainingError, UserError, shown
from mmdet_dab.overrides import read_with_overrides, walk

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

__all__ = [
    'CONFIGS',
    'DraftConfig',
    'build',
    'build_detector',
    'cannot_be_built',
    'class_names',
    'class_rows',
    'config_blamed',
    'config_names',
    'draft_config',
    'find_config',
    'load_config',
    'walk',
]


class DraftConfig:
    """A config as it stands in its files, with overrides, before anything heavy was imported.

    Attributes:
        cfg: the config; its paths can be checked already.
    """

    def __init__(self, cfg: Config, check_keys: Callable[[], None]) -> None:
        self.cfg, self._check_keys = cfg, check_keys

    def finish(self) -> Config:
        """Import torch and mmdet, register all parts and those of ``custom_imports``, and check the
        overrides by them.

        Raises:
            InstallError: a package is missing or broken.
            ConfigError: a module of ``custom_imports`` cannot be imported; an override names no
                argument of the class that it is for.
        """
        compat.import_stack()
        _import_custom_modules(self.cfg)
        self._check_keys()
        _tell_names_of_both(self.cfg)
        return self.cfg


def draft_config(name: str | Path, options: Mapping[str, Any] | None = None) -> DraftConfig:
    """Read a config, and set ``options`` in it, within half a second.

    Args:
        name: as :func:`find_config` takes it.
        options: dotted keys and their values, see :mod:`mmdet_dab.overrides`.

    Raises:
        ConfigError: there is no such config, or it cannot be read; an option does not fit.
    """
    path = str(find_config(name))
    try:
        from mmengine.config import Config
    except ImportError as error:
        raise compat.install_error(error) from error

    def read() -> Config:
        try:
            return Config.fromfile(path, import_custom_modules=False)
        except (ConfigError, InstallError):
            raise
        except Exception as error:  # a config is a program: anything may go wrong in it
            raise ConfigError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error

    cfg, check_keys = read_with_overrides(read, path, options or {})
    _check_kinds(cfg)
    return DraftConfig(cfg, check_keys)


#: What the sections of a config are, as far as there are some.
_KINDS: Mapping[type | tuple[type, ...], str] = {
    dict: 'model train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg optim_wrapper '
    'default_hooks env_cfg visualizer auto_scale_lr randomness custom_imports metainfo tta_model log_processor',
    (dict, list, tuple): 'param_scheduler val_evaluator test_evaluator',
    (list, tuple): 'custom_hooks vis_backends tta_pipeline',
    str: 'load_from work_dir data_root default_scope launcher experiment_name',
}
_WORDS = {dict: 'a dict', (dict, list, tuple): 'a dict or a list', (list, tuple): 'a list', str: 'a text'}


def _check_kinds(cfg: Config) -> None:
    """Refuse a section of another kind, as an override can make it.

    Raises:
        ConfigError: names the key, its value and what it must be.
    """
    for kind, names in _KINDS.items():
        for name in names.split():
            value = cfg.get(name)
            if value is not None and not isinstance(value, kind):
                raise ConfigError(f'config {cfg.filename}: {name} is {shown(value)}, and must be {_WORDS[kind]}')
    model = cfg.get('model') or {}
    for name in ('backbone', 'neck', 'bbox_head', 'query_generator', 'encoder', 'decoder', 'data_preprocessor'):
        if model.get(name) is not None and not isinstance(model[name], dict):
            raise ConfigError(f'config {cfg.filename}: model.{name} is {shown(model[name])}, and must be a dict')
    for key, node in walk(model, 'model'):
        if not isinstance(node.get('init_cfg') or {}, dict | list | tuple):
            raise ConfigError(f'config {cfg.filename}: {key}.init_cfg is {shown(node["init_cfg"])}, and must be a dict')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        _check_loader(cfg, name)


def _check_loader(cfg: Config, name: str) -> None:
    loader = cfg.get(name) or {}
    for key, least in (('batch_size', 1), ('num_workers', 0)):
        value = loader.get(key)
        if value is not None and (type(value) is not int or value < least):
            raise ConfigError(
                f'config {cfg.filename}: {name}.{key} is {shown(value)}, and must be a whole number from {least} on'
            )
    dataset = loader.get('dataset')
    if dataset is not None and not isinstance(dataset, dict):
        raise ConfigError(f'config {cfg.filename}: {name}.dataset is {shown(dataset)}, and must be a dict')
    pipeline = (dataset or {}).get('pipeline')
    if pipeline is not None and not (
        isinstance(pipeline, (list, tuple)) and all(isinstance(step, dict) or callable(step) for step in pipeline)
    ):
        raise ConfigError(f'config {cfg.filename}: {name}.dataset.pipeline is {shown(pipeline)}, not a list of dicts')


@contextlib.contextmanager
def config_blamed(cfg: Config) -> Iterator[None]:
    """Turn what a part says as it is built into a message that names the config.

    The Runner builds most parts only when it starts to train or to test.

    Raises:
        ConfigError: an error came while something was built; any other stays as it is.
    """
    try:
        yield
    except (UserError, TrainingError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        steps = traceback.extract_tb(error.__traceback__)
        if any(step.name.startswith('build') for step in steps):
            raise cannot_be_built(cfg, error) from error
        raise


def load_config(name: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, set ``options`` in it, and import what it is built from.

    Args:
        name: a file, ``mmdet::path``, ``mmdet_dab::path``, or the name of a config of ours.
        options: dotted keys and their values, see :mod:`mmdet_dab.overrides`.

    Raises:
        ConfigError: there is no such config, or it cannot be read; an option does not fit.
        InstallError: a package is missing or broken.
    """
    return draft_config(name, options).finish()


def _import_custom_modules(cfg: Config) -> None:
    """Import what ``custom_imports`` names; a module may lie in the folder of the config."""
    custom = cfg.get('custom_imports') or {}
    names = custom.get('imports') or []
    folder = str(Path(cfg.filename).resolve().parent)
    for name in [names] if isinstance(names, str) else names:
        if importlib.util.find_spec(name.split('.')[0]) is None and folder not in sys.path:
            sys.path.append(folder)
        try:
            importlib.import_module(name)
        except InstallError:
            raise
        except Exception as error:  # a module of the user is a program too
            if custom.get('allow_failed_imports') and isinstance(error, ImportError):
                continue
            if isinstance(error, ModuleNotFoundError) and error.name == name.split('.')[0]:
                fix = f'put {error.name}.py into {folder}, install it, or set PYTHONPATH to its folder'
                raise ConfigError(
                    f"config {cfg.filename}: there is no module '{name}' (custom_imports). How to fix it: {fix}"
                ) from error
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError(
                f"config {cfg.filename}: module '{name}' (custom_imports) cannot be imported: "
                f'{type(error).__name__}: {error} ({place.filename}:{place.lineno})'
            ) from error


def _tell_names_of_both(cfg: Config) -> None:
    """Say which part a bare name means that is mmdet's and ours."""
    from mmdet_dab.registry import names_of_both

    both = names_of_both()
    for key, node in walk(cfg.get('model'), 'model'):
        if node.get('type') in both:
            name = node['type']
            say(f"{key}.type='{name}' is mmdet's; ours is type='mmdet_dab.{name}'")


# --- Detectors


def build_detector(cfg: Config) -> nn.Module:
    """The detector of a config in eval mode, on the CPU, with random weights.

    Nothing is downloaded: ``init_cfg`` acts in ``init_weights`` only.

    Raises:
        ConfigError: the config has no model, or a part of it refuses its arguments.
    """
    if not cfg.get('model'):
        raise ConfigError(f"config {cfg.filename} has no 'model': name the config of a detector")
    compat.import_stack()
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.get('default_scope', 'mmdet'))
    try:
        return MODELS.build(copy.deepcopy(cfg.model)).eval()
    except MemoryError:
        raise
    except Exception as error:  # a part may be anybody's
        raise cannot_be_built(cfg, error) from error


def build(config: str | Path | Config, weights: str | Path | None = None, device: str = 'cpu') -> nn.Module:
    """A detector that is ready to use, also with mmdet's ``inference_detector``.

    Args:
        config: a config, or the name of one as :func:`load_config` takes it.
        weights: a checkpoint, or an address on the Hugging Face hub (``hf://OWNER/REPOSITORY``);
            None leaves random weights.
        device: where the model goes, such as ``'cuda:0'``.

    Returns:
        the model in eval mode, with ``cfg`` and ``dataset_meta`` (the names of the classes: those
        of the checkpoint, else those of the config, else those of its dataset).

    Raises:
        ConfigError: there is no such config, or it cannot be built.
        CheckpointError: the weights cannot be read, or do not fit the model.
    """
    cfg: Any = load_config(config) if isinstance(config, str | Path) else copy.deepcopy(config)
    model: Any = build_detector(cfg)
    model.dataset_meta = class_names(cfg, {}, None)
    if weights is not None:
        from mmdet_dab.checkpoints import load_weights

        stored = load_weights(model, weights, model.dataset_meta.get('classes'))
        try:
            model.dataset_meta = class_names(cfg, stored, class_rows(model))
        except CheckpointError as error:
            raise CheckpointError(f'checkpoint {weights}: {error}') from error
    read_arrays_or_files(cfg)
    from mmdet_dab.unshared_config import unshared

    model.cfg = unshared(cfg)
    return model.to(device)


def class_rows(model: Any) -> int | None:
    """How many classes a detector tells apart; None where its head does not say."""
    return getattr(getattr(model, 'bbox_head', None), 'num_classes', None)


def class_names(cfg: Config, stored: Mapping[str, Any], rows: int | None) -> dict[str, Any]:
    """Names and colours of the classes: the checkpoint's, else the config's, else those of the
    dataset's class.

    Args:
        cfg: of the detector.
        stored: what the checkpoint says of its dataset; may be empty.
        rows: how many classes the detector tells apart; None: unknown.

    Raises:
        CheckpointError: names are stored for another number of classes, and the config has no
            others.
    """
    from mmdet.registry import DATASETS

    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # wrapped, such as by RepeatDataset
        dataset = dataset['dataset']
    known = DATASETS.get(dataset['type']) if 'type' in dataset else None
    configured = {**getattr(known, 'METAINFO', {}), **(cfg.get('metainfo') or {}), **(dataset.get('metainfo') or {})}
    names = {**configured, **stored}
    number = len(names.get('classes') or ())
    if rows is not None and number != rows:
        if len(configured.get('classes') or ()) != rows:
            raise CheckpointError(
                f'it and config {cfg.filename} name {number} classes, and the detector tells {rows} apart: '
                'write all of them as metainfo=dict(classes=(...)) of test_dataloader.dataset'
            )
        names = configured
    palette = stored.get('palette') or names.get('palette') or 'random'
    if not isinstance(palette, str) and len(palette) < len(names.get('classes') or ()):
        palette = 'random'
    return {**names, 'palette': palette}


def read_arrays_or_files(cfg: Config) -> None:
    """Make the test pipeline of a detector that was trained on arrays, such as drawn images, read
    files.

    mmdet's ``inference_detector`` exchanges the first step only where it is given an array.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    pipeline = dataset.get('pipeline') or []
    if pipeline and str(pipeline[0].get('type')).endswith('LoadImageFromNDArray'):
        pipeline[0]['type'] = 'LoadImageFromFile'


def cannot_be_built(cfg: Config, error: Exception) -> ConfigError:
    """The message for a config that a part refuses."""
    if error.args:
        reason = error.args[0]
    else:  # a bare assert says what it wants only in its own line
        reason = f'{type(error).__name__} at `{traceback.extract_tb(error.__traceback__)[-1].line}`'
    return ConfigError(f'config {cfg.filename} cannot be built: {reason} (set MMDET_DAB_TRACEBACK=1 to see where)')
