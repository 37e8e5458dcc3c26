"""The commands of ``mmdet-dab``, a file each: ``add_arguments(parser)`` and ``run(args)``.

The first line of a module's docstring is what ``mmdet-dab --help`` says of it. These modules import
nothing heavy at their top: arguments are parsed first, files are looked for next, and torch and
mmdet are imported last. To add a command, write its file and add its name here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

#: In the order of ``mmdet-dab --help``. The file of ``new-data`` is ``new_data.py``.
NAMES = (
    'train',
    'test',
    'infer',
    'explain',
    'demo',
    'new-data',
    'browse',
    'curves',
    'figures',
    'convert',
    'export',
    'run',
    'report',
    'describe',
    'complexity',
    'mmdet-tool',
)


def load(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f'{__name__}.{name.replace("-", "_")}')
