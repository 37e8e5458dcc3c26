"""Which format a path has."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmdet_dab.data.formats import detect_format, read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.errors import DataError
from tests.helpers.drawn import Drawn, voc, yolo


def test_formats_as_the_files_look(drawn: Drawn):
    assert detect_format(drawn.coco()) == 'coco'
    assert detect_format(voc(drawn)) == 'voc'
    assert detect_format(yolo(drawn)) == 'yolo'


@pytest.mark.parametrize(
    ('files', 'words'),
    [
        ((), ['.json', '.xml', '.txt']),
        (('a.json', 'b.json'), ['a.json', 'b.json']),
        (('a.xml', 'a.txt'), ['--format']),
        (('._a.xml', 'classes.txt', '__MACOSX/a.txt'), ['.json', '.xml', '.txt']),
    ],
)
def test_folders_of_no_format_or_several(tmp_path: Path, files: tuple[str, ...], words: list[str]):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text('')
    with pytest.raises(DataError) as refused:
        detect_format(tmp_path)
    assert all(word in str(refused.value) for word in [str(tmp_path), *words])


def test_paths_that_do_not_fit_their_format(drawn: Drawn):
    images = ImageFolder(drawn.images)
    for path in (drawn.folder / 'gone', drawn.images / '0.png'):
        with pytest.raises(DataError, match=str(path)):
            detect_format(path)
    for path, kind in ((drawn.images, 'coco'), (drawn.coco(), 'voc'), (drawn.coco(), 'yolo')):
        with pytest.raises(DataError, match=f'{path}.*--format {kind}'):
            read(path, kind, images, None)
    (drawn.folder / 'empty').mkdir()
    with pytest.raises(DataError, match=r'empty: it holds no \.xml file'):
        read(drawn.folder / 'empty', 'voc', images, None)
