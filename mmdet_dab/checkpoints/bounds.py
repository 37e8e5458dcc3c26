"""A checkpoint takes no more memory than its file has bytes, and is what was written."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdet_dab.errors import CheckpointError

#: What a small file may unpack to at most; files of ``torch.save`` are not compressed at all.
SLACK = 1 << 20
#: What torch lets a file call with any number, and what fills as much memory as it says.
HUNGRY = (b'cbuiltins\nbytearray\n', b'c__builtin__\nbytearray\n')
#: A pickle of more bytes is looked through for so many steps at most; a checkpoint of Swin-B takes
#: some 100,000. Logged values are long, but few.
LONG_PICKLE, MOST_STEPS = 1 << 22, 2_000_000
#: Values in one another, deeper than any checkpoint has them: Python would run out of its stack.
DEEPEST = 400
TRUSTED = 'Get the file from a source that you trust'


def check_archive(path: Path) -> None:
    """Refuse a compressed bomb, or one whose parts overlap, before anything is unpacked; and one
    whose bytes are not those that were written.

    Raises:
        CheckpointError: what is inside is larger than the file, or differs from its checksum.
    """
    if not zipfile.is_zipfile(path):
        return
    size = path.stat().st_size
    damaged = None
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            inside = sum(part.file_size for part in parts)
            repeated = len({part.filename for part in parts}) < len(parts)
            if inside <= size + SLACK and not repeated:
                damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError):
        return  # whoever reads it says what is wrong
    if inside > size + SLACK or repeated:
        raise CheckpointError(
            f'checkpoint {path} would unpack from {size:,} to {inside:,} bytes, and was not unpacked: '
            f'torch.save neither compresses nor repeats itself. {TRUSTED}'
        )
    if damaged is not None:
        raise CheckpointError(
            f'checkpoint {path} is damaged: {damaged} in it differs from its checksum. Copy or download it again (or '
            'save it again, if it was saved by a torch that was told to compute no checksums)'
        )


def pickles(path: Path) -> Iterator[bytes]:
    """The pickles in a file of ``torch.save``: members of its archive, or the file itself."""
    if not zipfile.is_zipfile(path):
        yield path.read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith('.pkl'):
                yield archive.read(name)


def check_calls(path: Path) -> None:
    """Refuse a pickle that asks for memory by a number, or by steps without end; see
    :func:`check_archive` first.

    Raises:
        CheckpointError: names the type.
    """
    try:
        for content in pickles(path):
            if len(content) > LONG_PICKLE and _has_more_steps(content):
                raise CheckpointError(f'checkpoint {path} holds more than {MOST_STEPS:,} values. {TRUSTED}')
            for call in HUNGRY:
                if call in content:
                    name = call[1:].decode().strip().replace('\n', '.')
                    raise CheckpointError(f'checkpoint {path} carries objects that are not weights: {name}. {TRUSTED}')
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError):
        return  # whoever reads it says what is wrong


def _has_more_steps(content: bytes) -> bool:
    """Whether the pickles in ``content`` have more than ``MOST_STEPS``; none is run."""
    stream, steps = io.BytesIO(content), 0
    try:
        while True:  # the old form has several, and tensors behind them
            for _ in pickletools.genops(stream):
                steps += 1
                if steps > MOST_STEPS:
                    return True
    except (ValueError, KeyError):
        return False


def check_tensors(path: Path, content: Any) -> None:
    """Refuse tensors that claim to be larger than what is stored of them, and those without values.

    Raises:
        CheckpointError: names the first such tensor.
    """
    seen: set[int] = set()
    storages: dict[int, int] = {}
    waiting: list[tuple[str, int, Any]] = [('', 0, content)]
    while waiting:
        key, depth, value = waiting.pop()
        if id(value) in seen:  # the same part may stand in many places
            continue
        seen.add(id(value))
        if depth > DEEPEST:
            raise CheckpointError(f'checkpoint {path}: values are nested more than {DEEPEST} deep. {TRUSTED}')
        if isinstance(value, Tensor):
            _check_tensor(path, key.lstrip('.'), value)
            if value.layout is torch.strided and value.device.type == 'cpu':
                storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, np.ndarray):
            storages[value.ctypes.data] = value.nbytes
        elif isinstance(value, Mapping):
            waiting += [
                (f'{key}.{name}' if type(name) is str else key, depth + 1, part) for name, part in value.items()
            ]
        elif isinstance(value, (list, tuple)):
            waiting += [(f'{key}.{number}', depth + 1, part) for number, part in enumerate(value)]
    if sum(storages.values()) > path.stat().st_size + SLACK:
        raise CheckpointError(f'checkpoint {path}: its tensors claim more bytes than the file has. {TRUSTED}')


def _check_tensor(path: Path, key: str, value: Tensor) -> None:
    if value.layout is not torch.strided or value.is_quantized or value.device.type == 'meta':
        return  # whoever needs the values says so
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(
            f'checkpoint {path}: tensor {key} claims {value.numel():,} values, more than are stored. {TRUSTED}'
        )
