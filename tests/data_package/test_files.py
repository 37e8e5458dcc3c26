"""Which files of a folder count, and their text in several encodings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmdet_dab.data.files import read_lines, read_text
from mmdet_dab.errors import DataError
from mmdet_dab.media_files import files_below


def test_leftovers_pipes_and_folders_are_passed_over(tmp_path: Path):
    for name in ('b.TXT', 'a.txt', '._a.txt', '.DS_Store', 'Thumbs.db', 'deep/c.txt', 'x.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
    for folder in ('__MACOSX', '.ipynb_checkpoints', '@eaDir', 'folder.txt'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'd.txt').write_text('')
    os.mkfifo(tmp_path / 'pipe.txt')
    (tmp_path / 'zero.txt').symlink_to('/dev/zero')
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, ('.txt',))]
    assert found == ['a.txt', 'b.TXT', 'deep/c.txt', 'folder.txt/d.txt']


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_marked_encodings_are_read(tmp_path: Path, encoding: str):
    (tmp_path / 'a.txt').write_bytes('Größe 大\n'.encode(encoding))
    assert read_text(tmp_path / 'a.txt') == 'Größe 大\n'


@pytest.mark.parametrize('content', ['大'.encode('gbk'), 'é'.encode('latin-1'), 'ab'.encode('utf-16-le'), b'\xff\xfea'])
def test_others_are_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / 'a.txt').write_bytes(content)
    with pytest.raises(DataError, match=r'a\.txt: .* Save it as UTF-8'):
        read_text(tmp_path / 'a.txt')


def test_what_is_no_file_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / 'pipe.txt')
    for name in ('gone.txt', 'pipe.txt'):
        with pytest.raises(DataError, match=name):
            read_text(tmp_path / name)


def test_lines_of_any_system(tmp_path: Path):
    (tmp_path / 'a.txt').write_bytes('a\r\nb\rc\nd\u2028e\x0bf\n'.encode())
    assert read_lines(tmp_path / 'a.txt') == ['a', 'b', 'c', 'd\u2028e\x0bf', '']
