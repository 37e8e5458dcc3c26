"""Whether a file can be written is found out before the work, and what is there stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmdet_dab.errors import UserError
from mmdet_dab.regular_files import check_output


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_a_file_that_can_be_written():
    Path('old.json').write_text('content')
    Path('link.json').symlink_to('old.json')
    Path('to nothing.json').symlink_to('new.json')
    before = os.stat('old.json')
    for name in ('new.json', 'old.json', 'link.json', 'to nothing.json'):
        check_output(name, '--out')
    assert Path('old.json').read_text() == 'content'
    assert os.stat('old.json').st_mtime_ns == before.st_mtime_ns
    assert sorted(os.listdir()) == ['link.json', 'old.json', 'to nothing.json']


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('folder', 'it is a folder. Name a file'),
        ('none/a.json', 'there is no folder none. Create it first'),
        ('pipe', 'it is a pipe or a device'),
        ('x' * 300, 'File name too long'),
        ('zero\0byte', 'null byte'),
    ],
)
def test_one_that_cannot(name: str, said: str):
    Path('folder').mkdir()
    os.mkfifo('pipe')
    with pytest.raises(UserError, match=f'(?s)--json .*{said}'):
        check_output(name, '--json')
    assert sorted(os.listdir()) == ['folder', 'pipe']
