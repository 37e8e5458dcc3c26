"""What a checkpoint says of its classes: names and colours, in the form that all others rely on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet_dab.errors import CheckpointError, shown

FIX = 'Save the checkpoint again with the right names, or without meta.dataset_meta'


def check_names(path: str | Path, content: Any) -> None:
    """Refuse names of classes that are not texts, and colours that are none.

    Args:
        path: of the checkpoint, for the message.
        content: as read; a checkpoint without names is left alone.

    Raises:
        CheckpointError: names the key and its value.
    """
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if meta is None:
        return
    if not isinstance(meta, Mapping):
        raise CheckpointError(f'checkpoint {path}: meta is {shown(meta)}, not a dict. Save it again without it')
    dataset = meta.get('dataset_meta')
    if dataset is None:
        return
    if not isinstance(dataset, Mapping) or not all(type(key) is str for key in dataset):
        raise CheckpointError(f'checkpoint {path}: meta.dataset_meta is {shown(dataset)}, not a dict of texts. {FIX}')
    named = {key.lower(): value for key, value in dataset.items()}  # mmdet 3.0 wrote CLASSES
    classes = named.get('classes', ())
    if not isinstance(classes, (list, tuple)) or not all(map(_is_text, classes)):
        raise CheckpointError(f'checkpoint {path}: meta.dataset_meta.classes is {shown(classes)}, not names. {FIX}')
    palette = named.get('palette')
    if palette is not None and type(palette) is not str and not _are_colours(palette):
        raise CheckpointError(
            f'checkpoint {path}: meta.dataset_meta.palette is {shown(palette)}, not (r, g, b) in 0..255 each. {FIX}'
        )


def _is_text(name: Any) -> bool:
    """Whether it is a text that can be written: half of a surrogate pair cannot."""
    return type(name) is str and not any('\ud800' <= character <= '\udfff' for character in name)


def _are_colours(palette: Any) -> bool:
    return isinstance(palette, (list, tuple)) and all(
        isinstance(colour, (list, tuple))
        and len(colour) == 3
        and all(type(level) is int and 0 <= level <= 255 for level in colour)
        for colour in palette
    )
