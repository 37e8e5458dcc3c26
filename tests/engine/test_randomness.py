"""Random numbers depend on their place alone."""

from __future__ import annotations

import random

import numpy as np
import torch

from mmdet_dab.engine.randomness import SAMPLE, STEP, SeededSamples, seed_generators


def drawn():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_equal_keys_give_equal_numbers_whatever_came_before():
    seed_generators(STEP, 0, 12, 1)
    first = drawn()
    drawn()
    seed_generators(STEP, 0, 12, 1)
    assert drawn() == first


def test_other_keys_give_other_numbers():
    keys = [(STEP, 0, 12, 0), (STEP, 0, 12, 1), (STEP, 0, 13, 0), (STEP, 1, 12, 0), (SAMPLE, 0, 12, 0)]
    seen = set()
    for key in keys:
        seed_generators(*key)
        seen.update(drawn())
    assert len(seen) == 3 * len(keys)


def test_a_sample_is_augmented_alike_alone_and_among_others():
    class Augmented:
        def __getitem__(self, index):
            return index, *drawn()

    load = SeededSamples(Augmented())
    batch = [((0, 2, position), 40 - position) for position in range(4)]
    together = load(batch)
    assert [load([entry])[0] for entry in reversed(batch)] == together[::-1]
