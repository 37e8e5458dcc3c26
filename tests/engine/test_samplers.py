"""Batches know their place: skipped by index, the same for any number of processes."""

from __future__ import annotations

import itertools

import pytest
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mmdet_dab.engine import samplers
from mmdet_dab.engine.samplers import AspectRatioBatches, ResumableBatches


class Images:
    """40 images, some upright, that refuse to be loaded; of 41, two processes would repeat one."""

    def __len__(self):
        return 40

    def get_data_info(self, index):
        return {'width': 60 if index % 3 else 40, 'height': 50}

    def __getitem__(self, index):
        raise AssertionError('skipping must not load')


def batches_of(kind, rank, processes, size, *, batches=None, first=0, endless=False, monkeypatch=None):
    """The batches of one of several processes."""
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, processes))
    sampler = kind(Images(), shuffle=True, seed=5)
    sampler.rank, sampler.world_size = rank, processes
    if kind is DefaultSampler:
        sampler.num_samples = 40 // processes
        sampler.total_size = sampler.num_samples * processes
    made = ResumableBatches(sampler, size, batches, endless=endless)
    made.begin(seed=7, epoch=3, batch=first)
    for batch in made:
        monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, processes))
        yield batch


@pytest.fixture
def give(monkeypatch):
    """The first batches of a process, as a list."""

    def take(*arguments, number=None, **options):
        return list(itertools.islice(batches_of(*arguments, monkeypatch=monkeypatch, **options), number))

    return take


ASPECT = dict(type='mmdet_dab.AspectRatioBatches')


@pytest.mark.parametrize('batches', [None, ASPECT], ids=['plain', 'by aspect ratio'])
@pytest.mark.parametrize('kind', [DefaultSampler, InfiniteSampler])
def test_any_batch_can_be_the_first(give, kind, batches):
    whole = give(kind, 0, 1, 4, batches=batches, number=10)
    for first in (1, 5, 9):
        assert give(kind, 0, 1, 4, batches=batches, first=first, number=10 - first) == whole[first:]


def test_an_endless_order_goes_on_in_a_later_epoch(give):
    whole = give(DefaultSampler, 0, 1, 4, endless=True, number=40)
    assert give(DefaultSampler, 0, 1, 4, endless=True, first=25, number=15) == whole[25:]
    epochs = {key[1] for batch in whole for key, _ in batch}
    assert epochs == {3, 4, 5, 6}
    # Every epoch is another order of all images.
    orders = [[index for batch in whole for key, index in batch if key[1] == epoch] for epoch in (3, 4, 5)]
    assert [sorted(order) for order in orders] == [list(range(40))] * 3
    assert orders[0] != orders[1]


@pytest.mark.parametrize('batches', [None, ASPECT], ids=['plain', 'by aspect ratio'])
@pytest.mark.parametrize('kind', [DefaultSampler, InfiniteSampler])
def test_two_processes_take_the_images_and_keys_of_one(give, kind, batches):
    one = give(kind, 0, 1, 4, batches=batches, number=10)
    halves = [give(kind, rank, 2, 2, batches=batches, number=10) for rank in (0, 1)]
    for step, whole in enumerate(one):
        assert sorted(halves[0][step] + halves[1][step]) == sorted(whole), step


def test_images_of_a_step_are_of_one_kind_and_those_of_mmdet():
    images = Images()
    sampler = DefaultSampler(images, shuffle=True, seed=3)
    ours, mmdets = list(AspectRatioBatches(sampler, 4)), list(AspectRatioBatchSampler(sampler, 4))
    assert ours == mmdets
    assert len(ours) == len(AspectRatioBatches(sampler, 4)) == 10
    kinds = [{index % 3 == 0 for index in batch} for batch in ours[:-2]]
    assert all(len(kind) == 1 for kind in kinds)


def test_keys_are_never_used_twice(give):
    keys = [key for rank in (0, 1) for batch in give(DefaultSampler, rank, 2, 3, number=None) for key, _ in batch]
    assert len(set(keys)) == len(keys) == 40
