"""Checks of a dataset: each finds what would silently lower AP, or stop a training run later.

``finding`` is what they return; ``annotations``, ``classes`` and ``recipe`` look at numbers,
``images`` opens files, ``config`` runs the cheap ones for a config.
"""
