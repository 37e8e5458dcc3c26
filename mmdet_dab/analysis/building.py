"""From the name of a config to a detector in memory, without weights from anywhere."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmdet_dab import cli


def load_config(name: str, options: Mapping[str, Any]) -> Config:
    """Read a config file, or one that comes with a package: ``mmdet::detr/detr_r50_8xb2-150e_coco.py``.

    Raises:
        UsageError: there is no such config, it cannot be read, or ``options`` do not fit it.
    """
    package, separator, path = name.partition('::')
    if not separator:
        return cli.load_config(name, options)
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise cli.UsageError(f"config {name}: there is no installed package '{package}': name one, or a file")
    return cli.load_config(str(Path(spec.submodule_search_locations[0], '.mim', 'configs', path)), options)


def build_detector(cfg: Config) -> nn.Module:
    """The detector of a config, for inference. Nothing is downloaded: ``init_cfg`` acts in ``init_weights`` only.

    Raises:
        UsageError: the config has no model, or a part of it refuses its arguments.
    """
    if not cfg.get('model'):
        raise cli.UsageError(f"config {cfg.filename} has no 'model': name the config of a detector")
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    try:
        return MODELS.build(copy.deepcopy(cfg.model)).eval()
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise cli.cannot_be_built(cfg, error) from error
