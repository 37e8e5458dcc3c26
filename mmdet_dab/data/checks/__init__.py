"""Checks of a dataset: each finds what would silently lower AP, or stop a training run later."""
