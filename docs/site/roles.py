"""An extension of Griffe: roles of docstrings, such as :class:`X`, are shown as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r':\w+:`~?([^`]+)`')


class Roles(griffe.Extension):
    """Replaces roles before docstrings are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by Griffe for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r'`\1`', obj.docstring.value)
