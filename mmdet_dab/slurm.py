"""What Slurm says of its tasks, in the words of torchrun. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmdet_dab.errors import ConfigError

#: Ports of jobs begin here; below them are those that programs ask for by number.
FIRST_PORT, PORTS = 20_000, 10_000


def as_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that torchrun would set for this task of ``srun``.

    The machines meet on the first one of the job. The port follows from the number of the job, so
    that two jobs can share a machine; ``MASTER_ADDR`` and ``MASTER_PORT`` have precedence.

    Args:
        environment: with ``SLURM_PROCID``, ``SLURM_NTASKS``, ``SLURM_LOCALID`` and
            ``SLURM_NODELIST``.

    Raises:
        ConfigError: this is no task of Slurm.
    """
    try:
        rank, tasks, local = (environment[f'SLURM_{name}'] for name in ('PROCID', 'NTASKS', 'LOCALID'))
        nodes = environment.get('SLURM_STEP_NODELIST') or environment['SLURM_NODELIST']
    except KeyError as error:
        raise ConfigError(
            f'--launcher slurm: {error.args[0]} is not set: start processes with srun, as tools/slurm_train.sh does'
        ) from None
    job, step = (int(environment.get(f'SLURM_{name}', 0)) for name in ('JOB_ID', 'STEP_ID'))
    return {
        'RANK': rank,
        'WORLD_SIZE': tasks,
        'LOCAL_RANK': local,
        'MASTER_ADDR': environment.get('MASTER_ADDR') or first_host(nodes),
        'MASTER_PORT': environment.get('MASTER_PORT') or str(FIRST_PORT + (job + 997 * step) % PORTS),
    }


def first_host(nodes: str) -> str:
    """The first machine of a list as Slurm writes them: ``gpu[03-05,09],big1`` is ``gpu03``."""
    name = re.match(r'[^,\[]*(\[[^\]]*\][^,\[]*)*', nodes)
    return re.sub(r'\[([^\],-]*)[^\]]*\]', r'\1', name.group() if name else nodes)
