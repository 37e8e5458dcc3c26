"""Which images and videos a user means, and under which names their results are written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mmdet_dab.errors import UserError
from mmdet_dab.media_files import IMAGE_ENDINGS, VIDEO_ENDINGS, find_images, find_media, told_apart


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b'')


def names(*given: str, out: str | None = None) -> list[str]:
    return [file.name.as_posix() for file in find_media(given, None if out is None else Path(out))]


def test_all_endings_in_any_case():
    wanted = {f'x{number}{ending}' for number, ending in enumerate((*IMAGE_ENDINGS, *VIDEO_ENDINGS))}
    wanted |= {f'y{number}{ending.upper()}' for number, ending in enumerate(IMAGE_ENDINGS)}
    touch(*(f'shots/{name}' for name in wanted), 'shots/notes.txt', 'shots/x')
    assert set(names('shots')) == wanted


def test_leftovers_of_systems_are_passed_over():
    touch('a.png', '._a.png', '__MACOSX/b.png', '@eaDir/c.png', '.cache/d.png', 'f/e.png')
    Path('folder.png').mkdir()
    os.mkfifo('pipe.png')
    assert names('.') == names('**/*') == ['a.png', 'f/e.png']


def test_files_folders_and_patterns_each_once_in_the_order_given():
    touch('one/a.png', 'one/deep/b.png', 'two/c.png', 'three/d.png', 'three/x.txt', 'odd')
    given = ['odd', 'two/c.png', 'one', 'one/a.png', 'thr*/*', 'one/**/*.png']
    assert names(*given) == ['odd', 'c.png', 'a.png', 'deep/b.png', 'three/d.png']
    assert [file.path for file in find_media(['one'])] == [Path('one/a.png'), Path('one/deep/b.png')]


def test_the_same_name_in_two_folders():
    """All are named from the folder that they share: each has a name of its own, and none leaves the output."""
    touch('all/one/a.png', 'all/two/a.png', 'all/b.png')
    assert names('all/one', 'all/two') == ['one/a.png', 'two/a.png']
    assert names('all/two/a.png', 'all/one', 'all/b.png') == ['two/a.png', 'one/a.png', 'b.png']
    os.chdir('all/one')
    assert names('.', '../two') == ['one/a.png', 'two/a.png']
    assert names('../two/*.png') == ['a.png']


def test_links_to_one_image_are_two_images():
    touch('a.png')
    Path('b.png').symlink_to('a.png')
    assert names('.', 'a.png', './b.png') == ['a.png', 'b.png']


def test_a_file_with_the_signs_of_a_pattern_in_its_name():
    touch('shot[1].png', 'who?/a.png')
    assert names('shot[1].png') == ['shot[1].png']
    assert names('who?') == ['a.png']


def test_what_an_earlier_run_left_is_no_input():
    touch('a.png', 'outputs/images/a.png')
    assert names('.', out='outputs') == ['a.png']
    assert names('**/*.png', out='outputs') == ['a.png']
    assert names('outputs/images', out='outputs') == ['a.png'], 'what is named itself is meant'


def test_images_alone():
    touch('a.png', 'clip.mp4')
    assert find_images(['.']) == ['a.png']
    assert find_images([]) == find_media([]) == []
    with pytest.raises(UserError, match=r'clip\.mp4'):
        find_images(['clip.mp4'])


@pytest.mark.parametrize('given', ['gone', 'gone/*.png', 'empty', 'gone.mp4'])
def test_what_names_nothing_is_refused_by_name(given: str):
    touch('empty/notes.txt', 'good/a.png')
    with pytest.raises(UserError, match=f'^{re.escape(given)}'):
        find_media(['good', given])


def test_files_are_told_apart_by_as_little_as_it_takes():
    assert told_apart(['one/a.png', 'two/b.png']) == ['a.png', 'b.png']
    assert told_apart(['x/one/deep/a.png', 'x/two/a.png', 'x/b.png']) == ['one/deep/a.png', 'two/a.png', 'b.png']
    assert told_apart(['a.png', './a.png']) == ['a.png', 'a.png']
