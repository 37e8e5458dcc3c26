"""Batches that know their place, so that a training run can go on from any of them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler

from mmdet_dab.engine.randomness import Key
from mmdet_dab.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableBatches(BatchSampler):
    """The batches of another batch sampler, from any of them on, with a key for every sample.

    Batches that are skipped are counted by their indices; nothing of them is loaded.

    Args:
        sampler: gives the indices of this process.
        batch_size: of this process; several where the batch sampler has one for each dataset.
        batches: config of the batch sampler, for example mmdet's ``AspectRatioBatchSampler``; None
            takes the indices as they come.
        drop_last: leave out a last batch that is not full; for ``batches=None``.
        endless: begin a further epoch where one ends, for loops that count iterations.
    """

    sampler: Any

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int | Sequence[int],
        batches: Mapping[str, Any] | None = None,
        drop_last: bool = False,
        endless: bool = False,
    ) -> None:
        if batches is None:
            self.batches = BatchSampler(sampler, int(batch_size), drop_last)  # type: ignore[arg-type]
        else:
            self.batches = MMENGINE_DATA_SAMPLERS.build(
                dict(batches), default_args=dict(sampler=sampler, batch_size=batch_size)
            )
        # Not super().__init__: DistSamplerSeedHook and others look for these two, and for no more.
        self.sampler = sampler
        # Samplers of several datasets take a number of images from each.
        self.batch_size = batch_size if isinstance(batch_size, int) else sum(batch_size)
        self.endless = endless
        self._seed = self._epoch = self._first = 0

    @property
    def global_batch(self) -> int:
        """Images that all processes take together in a step."""
        return self.batch_size * get_dist_info()[1]

    def begin(self, seed: int, epoch: int, batch: int) -> None:
        """Set where the next iteration begins.

        Args:
            seed: of the training run; part of the keys.
            epoch: from 0 on.
            batch: the first one of the epoch that is given, from 0 on; where ``endless``, it may
                lie in a later epoch.
        """
        self._seed, self._epoch, self._first = seed, epoch, batch

    def __iter__(self) -> Iterator[list[tuple[Key, int]]]:  # type: ignore[override]
        """Batches of (key, index); :class:`SeededSamples` loads them."""
        epoch, first = self._epoch, self._first
        if self.endless and not is_infinite(self.sampler):
            epoch, first = epoch + first // len(self), first % len(self)
        rank, processes = get_dist_info()
        while True:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            for number, batch in enumerate(itertools.islice(self.batches, first, None), first):
                start = number * self.batch_size
                # The position in the order of all processes, as samplers deal it out in turn.
                yield [
                    ((self._seed, epoch, (start + slot) * processes + rank), index) for slot, index in enumerate(batch)
                ]
            if not self.endless:
                return
            epoch, first = epoch + 1, 0

    def __len__(self) -> int:
        """Batches of this process in an epoch."""
        return len(self.batches)


@DATA_SAMPLERS.register_module()
class AspectRatioBatches(BatchSampler):
    """Batches of images that are all upright or all wide, the same for any number of processes.

    In place of mmdet's ``AspectRatioBatchSampler``, which groups the images of each process for
    itself: there, a step of two processes with 4 images each is another than that of one process
    with 8. With one process both give the same batches.

    Args:
        sampler: mmengine's ``DefaultSampler`` or ``InfiniteSampler``, or one with their attributes
            ``dataset``, ``rank`` and ``world_size``.
        batch_size: of this process.
        drop_last: leave out a last batch that is not full.
    """

    sampler: Any

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self._is_wide: dict[int, bool] = {}

    def __iter__(self) -> Iterator[list[int]]:
        """Lists of indices."""
        rank, processes = self.sampler.rank, self.sampler.world_size
        size = self.batch_size * processes
        upright: list[int] = []
        wide: list[int] = []
        for index in order_of_all(self.sampler):
            bucket = wide if self._wide(index) else upright
            bucket.append(index)
            if len(bucket) == size:
                yield bucket[rank::processes]
                bucket.clear()
        left = upright + wide
        for start in range(0, len(left), size):
            batch = left[start : start + size][rank::processes]
            if batch and not (self.drop_last and len(batch) < self.batch_size):
                yield batch

    def _wide(self, index: int) -> bool:
        """Whether an image is at least as wide as high; looked up once."""
        if index not in self._is_wide:
            info = self.sampler.dataset.get_data_info(index)
            self._is_wide[index] = info['width'] >= info['height']
        return self._is_wide[index]

    def __len__(self) -> int:
        """Batches of this process in an epoch."""
        samples = len(self.sampler)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)


def is_infinite(sampler: Any) -> bool:
    """Whether a sampler never ends, as mmengine's ``InfiniteSampler``."""
    return hasattr(sampler, '_infinite_indices')


def order_of_all(sampler: Any) -> Iterator[int]:
    """The indices that the samplers of all processes give together, in the order of the steps."""
    if sampler.world_size == 1:
        return iter(sampler)
    single = copy.copy(sampler)
    single.rank, single.world_size = 0, 1
    if is_infinite(sampler):
        single.indices = single._indices_of_rank()
    return iter(single)
