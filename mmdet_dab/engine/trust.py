"""What a checkpoint must be before a training run goes on from it: data, and of this training run.

MMEngine takes more from a checkpoint than numbers: it runs the text under ``meta.config`` as a
config, later deletes the file that ``best_ckpt`` names, and hands the state of the optimizer over
as it is, which ends in a crash of the process where a shape differs.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmdet_dab.engine.values import describe_problems, value_problem
from mmdet_dab.errors import CheckpointError, listed, shown
from mmdet_dab.models.layers import current_names

FROM_WEIGHTS = 'To start from its weights instead, leave --resume out and name it as load_from'
#: More steps than any training run has.
MOST_STEPS = 10**12
#: Values in a note; names and colours of ten thousand classes are fewer.
LONGEST_NOTE = 200_000
BEST = re.compile(r'best_[\w.@-]+\.pth')
#: What schedulers and optimizers keep as they go on; all else is set by the config.
NUMBERS = (Real, type(None))
#: Lists of a scheduler with a number for each group of parameters: of more or fewer, MMEngine
#: leaves some out in silence.
PER_GROUP = ('base_values', '_last_value')


@contextlib.contextmanager
def named(path: Any) -> Iterator[None]:
    """Begin the message of a refusal with the file that is refused."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'checkpoint {path}: {error}') from error


def disarm(checkpoint: Any, folders: Sequence[str]) -> None:
    """Take out of a checkpoint what MMEngine would run or delete.

    Args:
        checkpoint: as read from a file; changed in place.
        folders: where checkpoints of this training run lie.

    Raises:
        CheckpointError: it is no checkpoint.
    """
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'the checkpoint holds a {type(checkpoint).__name__}, not tensors by name')
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
    hub = checkpoint.get('message_hub')
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    if isinstance(info, dict):
        for key in [key for key in info if str(key).startswith('best_ckpt')]:
            info[key] = inside(info[key], folders)
            if info[key] is None:
                del info[key]
        for key in ('keep_ckpt_ids', 'outdated_ckpt_ids'):
            numbers = info.get(key, [])
            if not isinstance(numbers, list) or not all(map(_is_count, numbers)):
                del info[key]


def inside(path: Any, folders: Sequence[str]) -> str | None:
    """The best checkpoint of that name in one of ``folders``; None where there is none."""
    name = re.split(r'[/\\]', path)[-1] if isinstance(path, str) else ''
    if not BEST.fullmatch(name):
        return None
    return next((str(Path(folder) / name) for folder in folders if (Path(folder) / name).is_file()), None)


def check_resumable(checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Refuse a checkpoint of another model, and one whose bookkeeping is none.

    Raises:
        CheckpointError: names the key, what is wrong with it and what to do.
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(
            f'the checkpoint does not say where its training run was (meta.epoch and meta.iter). {FROM_WEIGHTS}'
        )
    for key in ('epoch', 'iter'):
        if not _is_count(meta[key]):
            raise CheckpointError(f'the checkpoint is damaged: meta.{key} is {shown(meta[key])}, not a number of steps')
    seed = meta.get('seed')
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
        raise CheckpointError(
            f'the checkpoint is damaged: meta.seed is {shown(seed)}, not a number from 0 to 2**32 - 1'
        )
    if 'progress' in meta:
        _check_progress(meta['progress'])
    _check_messages(checkpoint)
    _check_tensors('state_dict', checkpoint.get('state_dict'), model)
    average = checkpoint.get('ema_state_dict')
    if average is not None:
        if not isinstance(average, Mapping):
            raise CheckpointError(f'the checkpoint is damaged: ema_state_dict is a {type(average).__name__}')
        weights = {name: value for name, value in average.items() if str(name).startswith('module.')}
        _check_tensors('ema_state_dict', weights, model)
        steps = average.get('steps')
        if (
            not isinstance(steps, Tensor)
            or steps.is_floating_point()
            or steps.numel() != 1
            or not _is_count(steps.item())
        ):
            raise CheckpointError(
                f'the checkpoint is damaged: ema_state_dict.steps is {shown(steps)}, not a number of averaged steps'
            )


def _check_progress(progress: Any) -> None:
    """What the loops of mmdet_dab note, see ``Place.progress``, and an early stop remembers."""
    wrong = shown(progress)
    if isinstance(progress, dict):
        lacking = {key: 'missing' for key in PROGRESS if key not in progress}
        known = {**PROGRESS, **PROGRESS_AT_TIMES}
        odd = {key: shown(progress[key]) for key, fits in known.items() if key in progress and not fits(progress[key])}
        wrong = listed(f'{key} {value}' for key, value in {**lacking, **odd}.items())
    if wrong:
        raise CheckpointError(f'the checkpoint is damaged: meta.progress is no place to go on from: {wrong}')


def _check_messages(checkpoint: dict[str, Any]) -> None:
    """The logged values: lists of numbers, and notes that can be printed."""
    hub = checkpoint.get('message_hub')
    parts = ('log_scalars', 'runtime_info', 'resumed_keys')
    if not isinstance(hub, dict) or not all(isinstance(hub.get(part), dict) for part in parts):
        raise CheckpointError(f'the checkpoint has no message_hub with {listed(parts)}. {FROM_WEIGHTS}')
    for part in ('log_scalars', 'runtime_info'):
        for key in hub[part]:
            if type(key) is not str:
                raise CheckpointError(f'the checkpoint is damaged: message_hub.{part} has {shown(key)} for a name')
    for key, buffer in hub['log_scalars'].items():
        names = ('_log_history', '_count_history') if is_history(buffer) else ()
        data: list[Any] = [vars(buffer).get(name) for name in names] or [None]
        if not all(isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in 'fiu' for part in data):
            raise CheckpointError(f'the checkpoint is damaged: message_hub.log_scalars.{key} holds no logged numbers')
        if not len(data[0]) == len(data[1]) > 0:
            raise CheckpointError(
                f'the checkpoint is damaged: message_hub.log_scalars.{key} holds {len(data[0]):,} numbers, and counts '
                f'{len(data[1]):,}'
            )
        # A new one, with none of the attributes that a file may set besides.
        hub['log_scalars'][key] = HistoryBuffer(*data)
    for key, value in hub['runtime_info'].items():
        fits = _is_score if key.startswith('best_score') else NOTES.get(key, _is_short)
        if not fits(value):
            raise CheckpointError(f'the checkpoint is damaged: message_hub.runtime_info.{key} is {shown(value)}')
    # What is kept is what goes on being kept: MMEngine stops at any other answer, steps later.
    hub['resumed_keys'] = dict.fromkeys([*hub['log_scalars'], *hub['runtime_info']], True)


def _is_count(value: Any) -> bool:
    """Whether it is a number of steps, images or processes."""
    return type(value) is int and 0 <= value <= MOST_STEPS


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_seed(value: Any) -> bool:
    """Whether a generator of torch takes it, and some epochs more."""
    return value is None or (type(value) is int and 0 <= value < 2**63)


def _is_answer(value: Any) -> bool:
    return type(value) is bool


def _is_score(value: Any) -> bool:
    """Whether results can be compared with it; a schedule of them begins with infinity."""
    return isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1 and not value_problem(value))


def _is_short(value: Any) -> bool:
    """Whether a note can be printed.

    A list that holds itself twice, fifty times over, cannot, nor a number of thousands of digits.
    """
    waiting, steps = [value], 0
    while waiting:
        steps += 1
        part = waiting.pop()
        if isinstance(part, int) and abs(part) >= 2**64:
            return False
        if isinstance(part, Mapping):
            waiting += [*part, *part.values()]
        elif isinstance(part, (list, tuple, set)):
            waiting += part
        if steps + len(waiting) > LONGEST_NOTE:
            return False
    return True


#: What stands under ``meta.progress``, and what it must be.
PROGRESS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(('images', 'batch_size', 'processes'), _is_count),
    **dict.fromkeys(('validated', 'stop_training'), _is_answer),
    'order_seed': _is_seed,
}
#: What may stand there besides.
PROGRESS_AT_TIMES: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(('max_epochs', 'max_iters', 'wait_count'), _is_count_or_none),
    'best_score': _is_score,
}
#: Notes under ``message_hub.runtime_info`` that are counted on.
NOTES: Mapping[str, Callable[[Any], bool]] = dict.fromkeys(
    ('epoch', 'iter', 'max_epochs', 'max_iters'), _is_count_or_none
)


def is_history(value: Any) -> bool:
    """Whether a value is one of MMEngine's lists of logged numbers."""
    return isinstance(value, HistoryBuffer)


def _check_tensors(key: str, loaded: Any, model: nn.Module) -> None:
    """The tensors of a model, all of them and of its shapes."""
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f'the checkpoint has no {key}: it is not one of a training run')
    own = model.state_dict()
    loaded = current_names(model, {str(name).removeprefix('module.'): value for name, value in loaded.items()})
    missing = [name for name in own if not isinstance(loaded.get(name), Tensor)]
    unknown = [name for name in loaded if name not in own]
    differing = [
        f'{name} {tuple(loaded[name].shape)}, here {tuple(own[name].shape)}'
        for name in own
        if name not in missing and loaded[name].shape != own[name].shape
    ]
    problems = describe_problems(loaded, own)
    if problems:
        raise CheckpointError(f'the checkpoint is damaged: {key}: {problems}. Go on from one before it')
    for names, what in ((missing, 'lacks'), (differing, 'has in another shape'), (unknown, 'has besides')):
        if names:
            raise CheckpointError(
                f'--resume goes on with the same model, and this one differs: {key} {what} {len(names)} tensors '
                f'({listed(names, 3)}). Go back to the config that it was trained with. {FROM_WEIGHTS}'
            )


def check_optimizer(state: Any, wrapper: Any, model: nn.Module) -> None:
    """Refuse the state of another optimizer before it reaches this one.

    Args:
        state: ``checkpoint['optimizer']``; flags in it, such as ``fused``, are replaced by those of
            the config.
        wrapper: MMEngine's wrapper of the optimizer. Several optimizers are left to MMEngine.
        model: names the parameters in messages.

    Raises:
        CheckpointError: names the parameter, key or group.
    """
    if not isinstance(wrapper, OptimWrapper):
        return
    groups = wrapper.optimizer.param_groups
    loaded = state.get('param_groups') if isinstance(state, Mapping) else None
    values = state.get('state') if isinstance(state, Mapping) else None
    if not isinstance(loaded, list) or not isinstance(values, Mapping):
        raise CheckpointError(f'the checkpoint holds no state of an optimizer (optimizer.state). {FROM_WEIGHTS}')
    sizes = [len(group['params']) for group in groups]
    if not all(isinstance(group, dict) and isinstance(group.get('params'), list) for group in loaded) or sizes != [
        len(group['params']) for group in loaded
    ]:
        raise CheckpointError(
            f'--resume goes on with the same optimizer, and this one has other groups of parameters ({listed(sizes)}): '
            f'go back to the optim_wrapper of the config that it was trained with. {FROM_WEIGHTS}'
        )
    names = {id(weight): name for name, weight in model.named_parameters()}
    for number, (group, given) in enumerate(zip(groups, loaded, strict=True)):
        _check_group(f'optimizer.param_groups.{number}', given, group)
        _check_taken(f'optimizer.param_groups.{number}', given, wrapper.optimizer)
        for index, weight in zip(given['params'], group['params'], strict=True):
            _check_state(names.get(id(weight), f'parameter {index}'), values.get(index), weight)
    if len({frozenset(entry) for entry in values.values()}) > 1:
        raise CheckpointError(
            f'the checkpoint is damaged: optimizer.state differs in kind by parameter. {FROM_WEIGHTS}'
        )


def _check_group(key: str, given: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Rates and the like must be numbers; what says how to compute comes from the config."""
    for name in own:
        if name in given and (isinstance(own[name], bool) or own[name] is None):
            given[name] = own[name]
        elif name != 'params' and not (same_kind(given.get(name), own[name]) and _as_many(given[name], own[name])):
            raise CheckpointError(
                f'{key}.{name} of the checkpoint is {shown(given.get(name))}, not like {shown(own[name])}: it is '
                f'damaged, or of another optimizer. {FROM_WEIGHTS}'
            )


def _check_taken(key: str, given: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Numbers must be some that the optimizer would begin with: no momentum above 1."""
    known = inspect.signature(type(optimizer)).parameters
    values = {name: given[name] for name in optimizer.defaults if name in known and name in given}
    try:
        type(optimizer)([nn.Parameter(torch.zeros(1))], **values)
    except Exception as error:  # an optimizer may be anybody's
        raise CheckpointError(
            f'the checkpoint is damaged: {key} holds {shown(values)}, which {type(optimizer).__name__} refuses '
            f'({error}). {FROM_WEIGHTS}'
        ) from error


def _check_state(name: str, entry: Any, weight: Tensor) -> None:
    """Every tensor of a parameter's state is of its shape, or one number."""
    if entry is None:  # a parameter that never had a gradient
        return
    tensors = entry.values() if isinstance(entry, Mapping) else [entry]
    for value in tensors:
        if isinstance(value, Tensor):
            fits = not value_problem(value) and (value.shape == weight.shape or value.numel() == 1)
        else:
            fits = isinstance(entry, Mapping) and isinstance(value, NUMBERS)
        if not fits:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise CheckpointError(
                f'optimizer state of {name} is {shape}, the parameter {tuple(weight.shape)}: the checkpoint is of '
                f'another model or optimizer. {FROM_WEIGHTS}'
            )


def check_gradients(gradients: Any, model: nn.Module) -> None:
    """Refuse gradients that are none of this model.

    Args:
        gradients: ``checkpoint['gradients']``, by process and parameter; None: there are none.
        model: to go on with.

    Raises:
        CheckpointError: they are of another shape.
    """
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    if gradients is None:
        return
    processes = gradients if isinstance(gradients, list) else [None]
    for own in processes:
        if not isinstance(own, Mapping) or not all(
            isinstance(value, Tensor)
            and value.is_floating_point()
            and value.layout is torch.strided
            and value.shape == shapes.get(name)
            for name, value in own.items()
        ):
            raise CheckpointError(f'the checkpoint is damaged: gradients are not those of the model. {FROM_WEIGHTS}')


def check_schedulers(states: Any, schedulers: Any) -> None:
    """Refuse states of schedulers that are none.

    Args:
        states: ``checkpoint['param_schedulers']``.
        schedulers: those of the Runner: a list, or lists by the name of their optimizer.

    Raises:
        CheckpointError: names the scheduler and its key.
    """
    if isinstance(schedulers, dict):
        for name, group in schedulers.items():
            check_schedulers(states.get(name) if isinstance(states, Mapping) else None, group)
        return
    if not isinstance(states, list) or not all(isinstance(state, dict) for state in states):
        raise CheckpointError(f'the checkpoint holds no states of schedulers (param_schedulers). {FROM_WEIGHTS}')
    for number, (state, scheduler) in enumerate(zip(states, schedulers or (), strict=False)):
        own = vars(scheduler)
        for key in state:
            fits = key in own and same_kind(state[key], own[key])
            if not fits or (key in PER_GROUP and not _as_many(state[key], own[key])):
                raise CheckpointError(
                    f'param_schedulers.{number}.{key} of the checkpoint does not fit a {type(scheduler).__name__}: go '
                    f'back to the param_scheduler of the config that it was trained with. {FROM_WEIGHTS}'
                )


def same_kind(given: Any, own: Any) -> bool:
    """Whether two values are both numbers, both texts, or containers of such of the same kind.

    A number that is not finite is of the kind of another such only: the best result of a schedule
    begins with infinity, and no rate does.
    """
    if isinstance(own, NUMBERS) and isinstance(given, NUMBERS):
        return _is_finite(given) or (not _is_finite(own) and given in (math.inf, -math.inf))
    if isinstance(own, Mapping):
        return isinstance(given, Mapping) and all(isinstance(value, (*NUMBERS, str)) for value in given.values())
    if isinstance(own, (list, tuple)):
        return isinstance(given, (list, tuple)) and all(
            isinstance(value, str) or (isinstance(value, NUMBERS) and _is_finite(value)) for value in given
        )
    if isinstance(own, Tensor):
        return isinstance(given, Tensor) and given.shape == own.shape
    return type(given) is type(own)


def _as_many(given: Any, own: Any) -> bool:
    """Whether two lists are of one length; all else is one."""
    return not isinstance(own, (list, tuple)) or len(given) == len(own)


def _is_finite(number: Real | None) -> bool:
    """Whether it is one that a float can hold, or None."""
    try:
        return number is None or math.isfinite(number)
    except OverflowError:  # an integer of hundreds of digits
        return False
