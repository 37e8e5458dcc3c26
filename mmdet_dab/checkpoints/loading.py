"""Reading checkpoint files that come from anywhere, without running what is in them."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmdet_dab.checkpoints.bounds import check_archive, check_calls, check_tensors, pickles
from mmdet_dab.checkpoints.known_layouts import unwrapped
from mmdet_dab.checkpoints.names import check_names
from mmdet_dab.checkpoints.unwrap import KEYS, stored_weights
from mmdet_dab.compat import mmengine_checkpoint_types
from mmdet_dab.errors import CheckpointError, listed
from mmdet_dab.regular_files import check_file

#: What every pickle of tensors names, whatever its protocol.
WEIGHTS = re.compile(r'collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.\w*Storage|torch\.storage\.\w+')

#: Of a pickle that was refused, so much is looked through for a name.
MOST_BYTES = 1 << 22


def read_checkpoint(path: str | Path, *, map_location: str = 'cpu', allow: Sequence[type] = ()) -> Any:
    """Read a file of ``torch.save`` with tensors and plain data in it, and nothing else.

    Args:
        path: Any checkpoint of mmengine, mmdet or the DETR family; importing ``mmdet_dab`` allows
            the types that mmengine writes.
        map_location: Device of the tensors, as for ``torch.load``.
        allow: Harmless classes that this one file may hold besides, such as ``argparse.Namespace``
            for the options in the checkpoints of DETR and DAB-DETR.

    Returns:
        What was saved, usually a dict.

    Raises:
        CheckpointError: there is no such file; it is empty, cut off or something else than a
            checkpoint; it would take more memory than it has bytes; or it names a function or class
            that is not allowed, and the message says which.
    """
    path = Path(path)
    check_file(path, 'checkpoint', CheckpointError)
    check_archive(path)
    check_calls(path)
    try:
        with _allowed((*mmengine_checkpoint_types(), *allow)):
            content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch, pickle and zip each have their own for a broken file
        raise CheckpointError(f'checkpoint {path} {_reason(path, error)}') from error
    check_tensors(path, content)
    return content


def read_weights(path: str | Path, *, allow: Sequence[type] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors of a model from a file of any framework.

    Args:
        path: A file of ``torch.save`` with the tensors under ``'state_dict'`` (mmengine),
            ``'model'`` (DETR, detrex) or another of the usual keys, or with nothing else; or a
            ``.safetensors`` file.
        allow: As for :func:`read_checkpoint`.

    Returns:
        the tensors by name, without a prefix of a wrapper such as ``module.`` where their layout is
        known, and what mmengine keeps beside them under ``'meta'``, if anything.

    Raises:
        CheckpointError: the file cannot be read, holds no tensors by name, or those of several
            models.
    """
    if Path(path).suffix == '.safetensors':
        return unwrapped(read_safetensors(Path(path))), {}
    content = read_checkpoint(path, allow=allow)
    check_names(path, content)
    found = stored_weights(content)
    if found is None:
        raise CheckpointError(
            f"checkpoint {path} holds no tensors by name, neither as a whole nor under '{listed(KEYS)}': "
            'it is not a checkpoint of a model'
        )
    weights, keys = found
    others = [key for key in KEYS if keys and key != keys[0] and stored_weights(content.get(key))]
    if others:
        print_log(f"checkpoint {path}: weights are taken from '{keys[0]}', not from '{listed(others)}'", 'current')
    meta = content.get('meta') if keys else None
    try:
        return unwrapped(weights), meta if isinstance(meta, dict) else {}
    except CheckpointError as error:
        raise CheckpointError(f'checkpoint {path}: {error}') from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name, as they are stored."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f'checkpoint {path} needs the package safetensors: pip install safetensors') from error
    check_file(path, 'checkpoint', CheckpointError)
    try:
        weights = load_file(path)
    # Also for a kind of numbers that torch does not have
    except (SafetensorError, OSError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f'checkpoint {path} is cut off, damaged or not a safetensors file ({error}): copy or download it again'
        ) from error
    if not weights:
        raise CheckpointError(f'checkpoint {path} holds no tensors: it is not a checkpoint of a model')
    return weights


@contextmanager
def _allowed(types: Sequence[Any]) -> Iterator[None]:
    """What ``torch.serialization.safe_globals`` does since torch 2.5, but what was allowed before
    stays so.

    mmengine's types are among ``types`` although importing this package allows them: the
    ``safe_globals`` around the loading of onedl-mmengine takes them off the list again.
    """
    before = list(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals(list(types))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _reason(path: Path, error: Exception) -> str:
    """Say in words why ``torch.load`` did not read the file."""
    refused = re.search(r'GLOBAL ([\w.]+)', str(error))
    names = [refused.group(1)] if refused else [name for name in _named_globals(path) if not WEIGHTS.fullmatch(name)]
    if names:
        return (
            f'carries code or objects that are not weights: {", ".join(sorted(set(names)))}. It was not loaded; '
            'get the file from a source that you trust, as weights only'
        )
    # torch's own advice, in an UnpicklingError, is to read the file without limits: not repeated
    # here.
    detail = '' if isinstance(error, pickle.UnpicklingError) else f' ({str(error).strip().split(". ")[0] or "it ends"})'
    return (
        f'is cut off, damaged or not a checkpoint of torch.save in its usual pickle protocol 2{detail}: '
        'copy, download or save it again'
    )


def _named_globals(path: Path) -> Iterator[str]:
    """The functions and classes that a pickle names, read without running it."""
    try:
        strings: list[str] = []
        for opcode, argument, _ in pickletools.genops(b''.join(pickles(path))[:MOST_BYTES]):
            if opcode.name == 'GLOBAL':
                yield str(argument).replace(' ', '.')
            elif opcode.name == 'STACK_GLOBAL' and len(strings) >= 2:
                yield '.'.join(strings[-2:])
            elif isinstance(argument, str):
                strings.append(argument)
    # Not a pickle, or it breaks off: what was named until then counts
    except (ValueError, KeyError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError):
        return
