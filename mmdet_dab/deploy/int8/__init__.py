"""From an exported file to one of 8-bit integers: calibrated, measured, and refused where it loses
AP.

:func:`quantize` is the way; :mod:`parts` says which node belongs to which part of the detector,
:mod:`data` gives images and AP, :mod:`quantizers` writes the files.
"""

from mmdet_dab.deploy.int8.choice import check, quantize

__all__ = ['check', 'quantize']
