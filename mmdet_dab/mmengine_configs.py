"""mmengine finds our configs: ``_base_ = 'mmdet_dab::dab_detr_r50_50e.py'``, and new-style ones.

By itself mmengine 0.10.7 knows the packages of OpenMMLab only, wants a folder in the name of a
config, and asks ``pkg_resources`` where a package is, which does not know editable installs. So
four of its functions are wrapped. Each acts on names of ours, and hands all others on.

- ``_base_ = 'mmdet_dab::x.py'`` is read like a base in a file beside the config.
- In a new-style config, ``with read_base(): from mmdet_dab.configs.x import *`` reads the same
  file: there is one statement of each config, in the old style.
- ``DetInferencer('dab_detr_r50_50e', weights='x.pth')`` finds it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet_dab.config_files import CONFIGS, config_names, find_config

PREFIX = 'mmdet_dab::'


def install() -> None:
    """Wrap what mmengine looks configs up with; called right after that is imported."""
    from mmengine.config import config as module
    from mmengine.config.utils import MODULE2PACKAGE

    config_class = module.Config
    get_cfg_path = config_class._get_cfg_path
    parse_lazy_import = config_class._parse_lazy_import
    get_installed_path = module.get_installed_path

    def find_base(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(find_config(cfg_path)), None
        return get_cfg_path(cfg_path, filename)

    def find_package(package: str) -> str:
        # `from mmdet_dab.configs.x` means the file configs/x.py in the folder that is returned
        # here.
        return str(CONFIGS.parent) if package == 'mmdet_dab' else get_installed_path(package)

    def parse_new_style(filename: str) -> tuple[Any, set[str]]:
        if Path(filename).is_relative_to(CONFIGS) and not config_class._is_lazy_import(filename):
            return config_class._file2dict(filename)[0], set()
        return parse_lazy_import(filename)

    config_class._get_cfg_path = staticmethod(find_base)
    config_class._parse_lazy_import = staticmethod(parse_new_style)
    module.get_installed_path = find_package
    MODULE2PACKAGE.setdefault('mmdet_dab', 'mmdet_dab')


def install_in_inferencers() -> None:
    """Let mmdet's DetInferencer find our configs by name.

    Called right after mmengine's inferencer is imported.
    """
    from mmengine.config import Config
    from mmengine.infer.infer import BaseInferencer

    load_model_from_metafile = BaseInferencer._load_model_from_metafile

    def load_by_name(self: Any, model: str) -> tuple[Any, str | None]:
        if model.removesuffix('.py') in config_names():
            return Config.fromfile(find_config(model)), None  # no weights of ours are published
        return load_model_from_metafile(self, model)

    BaseInferencer._load_model_from_metafile = load_by_name
