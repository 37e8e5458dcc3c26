"""Released detectors by their names. Imports nothing heavy.

The weights are the authors', brought into the layout of Hugging Face's transformers and put on its
hub; the figures that the authors report stand in ``configs/metafile.yml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmdet_dab.errors import CheckpointError, listed, nearest


class Released(NamedTuple):
    """A detector that can be had by its name.

    Attributes:
        config: name of the config that its weights are for, as ``find_config`` takes it.
        address: of the weights.
    """

    config: str
    address: str


#: By name; the name of the config means the same.
RELEASED = {
    name: Released(f'{name}_50e', f'hf://IDEA-Research/{repository}')
    for name, repository in {
        'dab_detr_r50': 'dab-detr-resnet-50',
        'dab_detr_r50_3pat': 'dab-detr-resnet-50-pat3',
        'dab_detr_r50_dc5': 'dab-detr-resnet-50-dc5',
        'dab_detr_r50_dc5_3pat': 'dab-detr-resnet-50-dc5-pat3',
        'dab_detr_r50_dc5_fixxy': 'dab-detr-resnet-50-dc5-fixxy',
    }.items()
}


def find_released(name: str, besides: Sequence[str] = ()) -> Released:
    """Look a name up.

    Args:
        name: of a detector, or of its config.
        besides: what else could have been meant where it is asked for.

    Raises:
        CheckpointError: no released detector has it; the message lists the nearest, or all.
    """
    found = RELEASED.get(name) or RELEASED.get(name.removesuffix('.py').removesuffix('_50e'))
    if found is None:
        choices = [*besides, *RELEASED]
        near = nearest(name, choices)
        proposals = f'Did you mean {listed(near)}?' if near else f'There are {listed(choices)}.'
        raise CheckpointError(f'{name}: no released detector has this name. {proposals}')
    return found
