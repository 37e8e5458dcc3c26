"""Packaging of mmdet_dab.

The OpenMMLab packages come in several builds with the same import names (mmcv, mmcv-lite, the onedl
forks), so they are extras: ``pip install -e .[lite]`` needs no compiler; without an extra, what is
already installed is used and ``import mmdet_dab`` says what is missing.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'mmdet_dab/version.py').read_text()).group(1)

# setuptools<81: mmengine 0.10.7 imports pkg_resources for `mmdet::` bases.
LITE = ['mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmdet==3.3.0', 'setuptools<81']
# tools/convert_weights.py reads .safetensors, and writes for Hugging Face.
CONVERT = ['safetensors>=0.4,<1']
# transformers is the oracle of weights from and for Hugging Face; tried: 4.49.0, the first with DAB-DETR, and 5.23.0.
DEV = [
    *CONVERT,
    'transformers>=4.49,<6',
    'pytest>=8,<10',
    'pytest-xdist>=3.5,<4',
    'ruff==0.17.6',
    'mypy==2.4.1',
    'tensorboard>=2.15',
]

# The site in docs/: make docs.
DOCS = ['mkdocs-material>=9.6,<10', 'mkdocstrings[python]>=0.29,<2']

setup(
    name='mmdet_dab',
    version=VERSION,
    description='DAB-DETR (Dynamic Anchor Boxes are Better Queries for DETR) from registered parts, for MMDetection',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdet_dab', 'mmdet_dab.*']),
    python_requires='>=3.10,<3.13',
    install_requires=[
        'torch>=2.4,<3',
        'numpy>=1.24,<3',
        'scipy>=1.10,<2',
        'pycocotools>=2.0.7,<3',
        'matplotlib>=3.7,<4',
        'opencv-python>=4.8,<6',
        'pillow>=10,<14',
        'pyyaml>=6,<7',
    ],
    extras_require={'lite': LITE, 'convert': CONVERT, 'dev': DEV, 'docs': DOCS},
)
