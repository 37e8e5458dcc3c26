"""A detector as a program of ``torch.export`` for any batch and size, or the name of the part that
cannot be one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmdet_dab.errors import ConfigError


class Watch:
    """Follows a program while it is traced, and notes in which module it went wrong: where a size
    that should stay free became a number, or where an error was raised.

    Args:
        program: takes images (B, 3, H, W) first.
    """

    def __init__(self, program: nn.Module) -> None:
        self.sizes: tuple[Any, ...] = ()
        self.running: list[str] = []
        self.guilty = ''
        self.handles = [program.register_forward_pre_hook(self.begin)]
        for path, module in program.named_modules():
            if path:
                name = f'{path.removeprefix("program.").removeprefix("detector.")} ({type(module).__name__})'
                self.handles.append(module.register_forward_pre_hook(partial(self.enter, name)))
                self.handles.append(module.register_forward_hook(partial(self.leave, name)))

    def begin(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        images = inputs[0]
        self.sizes = (images.size(0), images.size(2), images.size(3))

    def enter(self, name: str, *_: Any) -> None:
        self.running.append(name)

    def leave(self, name: str, *_: Any) -> None:
        self.running.remove(name)
        if not self.guilty and any(became_number(size) for size in self.sizes):
            self.guilty = name

    def part(self) -> str:
        """The innermost module at which it went wrong."""
        return self.guilty or next(reversed(self.running), 'a part of the detector')

    def stop(self) -> None:
        for handle in self.handles:
            handle.remove()


def became_number(size: Any) -> bool:
    """Whether a symbol was given a value."""
    return isinstance(size, torch.SymInt) and size.node.maybe_as_int() is not None


@contextmanager
def watched(program: nn.Module) -> Iterator[None]:
    """Turn what ``torch.export`` raises into a message that names the part.

    Raises:
        ConfigError: the program cannot be traced.
    """
    watch = Watch(program)
    try:
        yield
    except Exception as error:  # torch raises many types
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip('.')
        raise ConfigError(
            f'{watch.part()} cannot be exported for any batch and size: torch.export says “{reason}”. Exchange the '
            'part, or give it a forward pass in which sizes stay symbols.'
        ) from error
    finally:
        watch.stop()


def traced(program: nn.Module, kind: torch.dtype) -> Any:
    """The program of ``torch.export``.

    Args:
        program: images (B, 3, H, W), valid sizes (B, 2) -> scores, labels, boxes.
        kind: of the images.

    Raises:
        ConfigError: a part makes a constant of a size, or cannot be traced; names it.
    """
    # An example of one image would be taken for a constant.
    images = torch.zeros(2, 3, 96, 128, dtype=kind)
    valid_sizes = torch.tensor([[96, 128], [80, 100]])
    batch, size = torch.export.Dim('batch'), torch.export.Dim.DYNAMIC
    shapes = {'images': {0: batch, 2: size, 3: size}, 'valid_sizes': {0: batch}}
    with torch.no_grad(), watched(program):
        return torch.export.export(program, (images, valid_sizes), dynamic_shapes=shapes, strict=False)


def part_with(exported: Any, operation: str) -> str:
    """The innermost module of a traced program that calls an operation, such as
    ``aten.linalg_qr.default``."""
    for node in exported.graph.nodes:
        if operation and str(node.target).startswith(operation):
            path, kind = list(node.meta.get('nn_module_stack', {}).values() or [('', '')])[-1]
            path = path.removeprefix('program.').removeprefix('detector.')
            return f'{path} ({str(kind).rpartition(".")[2]})'
    return 'a part of the detector'
