"""A report of what a detector finds, what it gets wrong, and what to do about it.

``evaluate`` computes (:mod:`~mmdet_dab.analysis.report.evaluate`), ``page`` writes. It needs
annotations and detections only, neither torch nor mmdet, so that results of any detector can be
looked at; :mod:`~mmdet_dab.analysis.report.of_test` takes them from a test that runs.
"""
