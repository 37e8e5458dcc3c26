"""Hooks of MkDocs.

A comment ``<!-- modules: PACKAGE -->`` becomes the docstrings of the modules of a package. A page
that would load something from a network is a warning, and so an error of the strict build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOG = logging.getLogger('mkdocs.hooks.offline')
LOADED = re.compile(r'<(?:script|img|iframe|link rel="stylesheet")[^>]+(?:src|href)="(?:https?:)?//([^"]+)"')
COMMENT = re.compile(r'<!-- modules: ([\w.]+) -->')


def modules(package: str) -> list[str]:
    """Dotted names of the modules of a package, those of its packages after its own."""
    folder = ROOT / package.replace('.', '/')
    if not folder.is_dir():
        return [package]
    names = sorted(path.stem for path in folder.glob('*.py') if not path.stem.startswith('_'))
    inside = sorted(path.parent.name for path in folder.glob('*/__init__.py'))
    return [f'{package}.{name}' for name in names] + [
        name for inner in inside for name in modules(f'{package}.{inner}')
    ]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for every page."""
    return COMMENT.sub(lambda found: '\n\n'.join(f'::: {name}' for name in modules(found[1])), markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every finished page."""
    for address in LOADED.findall(output):
        LOG.warning('%s loads %s from a network', page.file.src_path, address)
    return output
