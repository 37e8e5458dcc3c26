"""A checkpoint takes no more memory than its file has bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdet_dab.errors import CheckpointError

#: What a small file may unpack to at most; files of ``torch.save`` are not compressed at all.
SLACK = 1 << 20


def check_archive(path: Path) -> None:
    """Refuse a compressed bomb, or one whose parts overlap, before anything is unpacked.

    Raises:
        CheckpointError: what is inside is larger than the file.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            inside = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # whoever reads it says what is wrong
    size = path.stat().st_size
    if inside > size + SLACK:
        raise CheckpointError(
            f'checkpoint {path} would unpack from {size:,} to {inside:,} bytes, and was not unpacked: torch.save does '
            'not compress. Get the file from a source that you trust'
        )


def check_tensors(path: Path, content: Any) -> None:
    """Refuse tensors that claim to be larger than what is stored of them.

    Raises:
        CheckpointError: names the first such tensor.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [('', content)]
    while waiting:
        key, value = waiting.pop()
        if id(value) in seen:  # the same part may stand in many places
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if value.layout is not torch.strided:
                continue
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise CheckpointError(
                    f'checkpoint {path}: tensor {key.lstrip(".")} claims {value.numel():,} values, more than are '
                    'stored. Get the file from a source that you trust'
                )
        elif isinstance(value, Mapping):
            waiting += [(f'{key}.{name}', part) for name, part in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(f'{key}.{number}', part) for number, part in enumerate(value)]
