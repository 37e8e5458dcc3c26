"""Datasets of our own."""

from mmdet_dab.datasets.synthetic_shapes import SyntheticShapes

__all__ = ['SyntheticShapes']
