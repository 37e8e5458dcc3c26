"""The text of the files of a dataset, in marked encodings."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from mmdet_dab.errors import DataError

#: UTF-32 first: its little-endian mark starts with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)


def marked_encoding(content: bytes) -> str | None:
    """The encoding that a byte order mark at the start tells of."""
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS if content.startswith(mark)), None)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        DataError: it is no regular file, or cannot be read.
    """
    if not os.path.isfile(path):
        problem = 'it is a folder' if os.path.isdir(path) else 'there is no such file'
        raise DataError(f'{path}: {problem}. Check the name.')
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}). Check its permissions.') from error


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in what its byte order mark says.

    Raises:
        DataError: it cannot be read, or is in another encoding.
    """
    return decode(read_bytes(path), path)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, ended as on any system; what else may end a line stays in it."""
    return read_text(path).replace('\r\n', '\n').replace('\r', '\n').split('\n')


def decode(content: bytes, path: Path, encoding: str = 'utf-8') -> str:
    """The text of ``content``, in the encoding of its byte order mark or else ``encoding``.

    Raises:
        DataError: the bytes are not of that encoding; names ``path``.
    """
    encoding = marked_encoding(content) or encoding
    try:
        text = content.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise DataError(f'{path}: the text is not {encoding.upper()} ({error}). Save it as UTF-8.') from error
    if '\0' in text:
        raise DataError(f'{path}: the text has zero bytes, as UTF-16 without a byte order mark has. Save it as UTF-8.')
    return text
