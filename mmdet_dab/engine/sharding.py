"""Sharded training: every process keeps a part of the weights, gradients and optimizer state.

PyTorch's ``fully_shard`` (FSDP 2) for MMEngine's ``FlexibleRunner``. MMEngine's own
``FSDPStrategy`` wraps the model in FSDP 1, which takes CUDA devices only, refuses weights that
layers share and, by default, leaves a folder with a part of the checkpoint for each process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.registry import STRATEGIES
from mmengine.runner.checkpoint import save_checkpoint
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mmdet_dab.engine.files import unwritten, write_whole
from mmdet_dab.errors import CheckpointError, ConfigError, listed

#: Classes whose modules hold most of the weights and are called once in a pass.
BLOCKS = ('SwinBlock', 'Bottleneck', 'EncoderLayer')


@STRATEGIES.register_module()
class ShardedStrategy(DDPStrategy):
    """Divides a detector among the processes; its checkpoints are those of any training run.

    A step computes what ``DistributedDataParallel`` does. A checkpoint is one file with whole
    tensors, so that one process can load it, test it and go on from it, and the other way round.

    Args:
        blocks: names of classes. The weights of each of their modules are gathered when it is
            called, and given back behind it; those of the rest (the decoder, whose layers share
            weights) are gathered for the whole pass.
        **kwargs: as for ``DDPStrategy``.

    Raises:
        ConfigError: the model has no module of one of these classes, or weights are shared by a
            block and what is outside of it.
    """

    def __init__(self, *, blocks: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = blocks

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        model = self.convert_model(model.to(get_device()))
        mesh = init_device_mesh(torch.device(get_device()).type, (get_world_size(),))
        names = self.blocks if self.blocks is not None else BLOCKS
        found = list(modules_of(model, names))
        absent = set(names) - {type(module).__name__ for module in found}
        if self.blocks is not None and absent:
            raise ConfigError(f'strategy.blocks: the model has no {listed(sorted(absent))}')
        check_shared(model, found)
        for module in found:
            fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)  # in place
        return model

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> Any:
        """As MMEngine does; the norm of the gradients is a number, not a part of it."""
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        clip = getattr(wrapper, 'clip_func', None)
        if clip is not None:
            wrapper.clip_func = lambda *args, **kwargs: whole(clip(*args, **kwargs))
        return wrapper

    def model_state_dict(self) -> dict[str, Any]:
        """Whole tensors on the CPU in the first process, None in the others; all call it."""
        state = self.model.state_dict(keep_vars=True)
        gathered: dict[int, Tensor | None] = {}
        for name, value in state.items():
            if id(value) not in gathered:
                gathered[id(value)] = kept(value)
            state[name] = gathered[id(value)]
        return state

    def optim_state_dict(self) -> dict[str, Any]:
        """The state of the optimizer with whole tensors, as for :meth:`model_state_dict`."""
        state = super().optim_state_dict()
        state['state'] = {
            number: {key: kept(value) for key, value in entry.items()} for number, entry in state['state'].items()
        }
        return state

    def load_model_state_dict(self, state_dict: dict[str, Any], **kwargs: Any) -> None:
        """Load whole tensors, of which every process keeps its part."""
        own = self.model.state_dict(keep_vars=True)
        state = {name.removeprefix('module.'): value for name, value in state_dict.items()}
        super().load_model_state_dict({name: part_of(value, own.get(name)) for name, value in state.items()}, **kwargs)

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of an optimizer, in whole tensors."""
        groups = self.optim_wrapper.param_groups
        weights = [weight for group in groups for weight in group['params']]
        numbers = [number for group in state_dict['param_groups'] for number in group['params']]
        owner = dict(zip(numbers, weights, strict=True))
        states = {
            number: {key: part_of(value, owner[number]) for key, value in entry.items()}
            for number, entry in state_dict['state'].items()
        }
        super().load_optim_state_dict({**state_dict, 'state': states})

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Any = None,
    ) -> None:
        """Gather from all processes, and write one file from the first.

        Raises:
            CheckpointError: it could not be written.
        """
        checkpoint: dict[str, Any] = {'state_dict': self.model_state_dict()}
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            checkpoint['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        # Hooks may note weights, as TrainingWatchHook notes the anchors.
        checkpoint.update(gathered(extra_ckpt or {}))
        checkpoint.setdefault('meta', {}).update(
            seed=self.seed, time=time.strftime('%Y%m%d_%H%M%S'), mmengine_version=mmengine.__version__
        )
        if callback is not None:
            callback(checkpoint)
        if not is_main_process():
            return
        path = Path(filename)
        try:
            write_whole(path, lambda part: save_checkpoint(checkpoint, str(part)))
        except OSError as error:
            raise CheckpointError(unwritten(path, error)) from error


def modules_of(model: nn.Module, names: Sequence[str]) -> Iterator[nn.Module]:
    """The modules whose class, or a class that it comes from, has one of these names."""
    for module in model.modules():
        if any(kind.__name__ in names for kind in type(module).__mro__):
            yield module


def check_shared(model: nn.Module, blocks: Sequence[nn.Module]) -> None:
    """Refuse weights that are used in several blocks, or in one and outside of it: they would be
    gathered for one and not for the other.
    """
    owner: dict[int, int] = {}
    inside: set[int] = set()
    for number, block in enumerate(blocks):
        inside.update(id(module) for module in block.modules())
        for weight in block.parameters():
            if owner.setdefault(id(weight), number) != number:
                raise ConfigError(f'strategy.blocks: {type(block).__name__} shares weights with another block')
    for name, module in model.named_modules():
        if id(module) not in inside and any(id(weight) in owner for weight in module.parameters(recurse=False)):
            raise ConfigError(f'strategy.blocks: {name} shares weights with a block')


def whole(value: Any) -> Any:
    """All parts of a tensor together; all processes call it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def kept(value: Any) -> Any:
    """The whole of a tensor on the CPU of the first process; others forget it. Numbers stay."""
    if not isinstance(value, Tensor):
        return value
    value = whole(value.detach())
    return value.cpu() if is_main_process() else None


def gathered(value: Any) -> Any:
    """The same with whole tensors, where parts of tensors are among dicts and lists."""
    if isinstance(value, dict):
        return type(value)((key, gathered(part)) for key, part in value.items())
    if isinstance(value, list):
        return [gathered(part) for part in value]
    return kept(value) if isinstance(value, DTensor) else value


def part_of(value: Any, like: Tensor | None) -> Any:
    """The part of a whole tensor that this process keeps, divided as ``like`` is."""
    if isinstance(like, DTensor) and isinstance(value, Tensor) and value.shape == like.shape:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value
