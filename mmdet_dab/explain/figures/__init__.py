"""The figures of the paper, drawn from a detector of yours or from the formulas; a file for each.

A figure has a ``TITLE`` and ``draw(material) -> Figure``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from mmdet_dab.explain.figures import figure_4, figure_6, figure_7, figure_10, figure_11, figure_12

#: Number in the paper -> its module.
FIGURES: Mapping[int, ModuleType] = MappingProxyType(
    {4: figure_4, 6: figure_6, 7: figure_7, 10: figure_10, 11: figure_11, 12: figure_12}
)
