"""Listen to a method while a block runs: what went in and what came out, without changing either.

A detector needs no code for being looked at: nothing is installed before the block, and nothing is
left after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn


class Call(NamedTuple):
    """One call of a method.

    Attributes:
        args, kwargs: what it was given, as it was given.
        result: what it gave.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """An argument that may be given by its place or by its name."""
        return self.args[index] if len(self.args) > index else self.kwargs.get(name, default)


@contextmanager
def tapped(module: nn.Module, method: str) -> Iterator[list[Call]]:
    """The calls of ``module.method`` within the block, in their order.

    Args:
        module: the object, whose class is not touched.
        method: such as ``'forward'``.
    """
    calls: list[Call] = []
    original = getattr(module, method)
    before = module.__dict__.get(method)

    def listen(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        calls.append(Call(args, kwargs, result))
        return result

    setattr(module, method, listen)
    try:
        yield calls
    finally:
        if before is None:
            delattr(module, method)
        else:  # somebody else's, such as another listener
            setattr(module, method, before)
