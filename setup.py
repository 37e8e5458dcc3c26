"""What only a program can say about the package; all else is in pyproject.toml.

The configs are in ``configs/`` of a checkout. In a wheel they are ``mmdet_dab/.mim/configs``, where
mmdet has its own too, with the model index beside them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class BuildWithConfigs(build_py):
    """Takes the configs along into the package that is built."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # an editable installation uses those of the checkout
        target = Path(self.build_lib, 'mmdet_dab', '.mim')
        shutil.rmtree(target, ignore_errors=True)
        files = [*(HERE / 'configs').rglob('*.py'), HERE / 'configs' / 'metafile.yml', HERE / 'model-index.yml']
        for file in files:
            copy = target / file.relative_to(HERE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


setup(
    cmdclass={'build_py': BuildWithConfigs},
    # An editable installation puts the checkout on Python's path. The other mode uses an import
    # hook that comes too late in a folder that contains a checkout named mmdet_dab: Python finds
    # that folder first, as an empty package.
    options={'editable_wheel': {'mode': 'compat'}},
)
