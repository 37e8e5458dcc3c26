"""Random numbers as a function of the place in the training run, not of what was drawn before.

A process that is killed takes its random state with it, and a worker that starts again repeats what
it drew at its start. So every draw gets its seed from where it belongs: a sample from its epoch and
its position in the order of the epoch, a training step from its number and the rank of the process.
Then nothing has to be saved, and neither restarts nor the number of workers make a difference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

#: First number of a key, so that samples, steps and validations never share their random numbers.
SAMPLE, STEP, VALIDATION = range(3)
#: Of one sample: seed of the training run, epoch, position in the order of all processes.
Key = tuple[int, int, int]


def seed_generators(*key: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators from a key.

    Args:
        key: numbers from 0 on. Equal keys give equal random numbers, others independent ones.
    """
    first, second, third = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(first)
    np.random.seed(second)
    # What torch.manual_seed does, without its 0.3 ms to prepare a CUDA that nobody has started.
    torch.default_generator.manual_seed(third)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(third)


class SeededSamples:
    """Loads the samples of a batch, each after seeding the generators from its key.

    An instance serves as the ``__getitems__`` of a dataset, which PyTorch's loader calls with what
    a batch sampler gave, in the worker or in the main process.

    Args:
        dataset: what loads and augments a sample, by index.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, batch: Sequence[tuple[Key, int]]) -> list[Any]:
        """The samples of a batch of keys and indices."""
        samples = []
        for key, index in batch:
            seed_generators(SAMPLE, *key)
            samples.append(self.dataset[index])
        return samples
