"""VOC's XML files: numbers by hand, odd names, encodings, and files that must not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.voc import read_voc
from mmdet_dab.errors import DataError
from tests.helpers.drawn import VOC, Drawn, draw, found, voc

ONE = VOC.format(name='0.png', size='', first='square', difficult='0')


def test_by_hand(drawn: Drawn):
    """Corners (4, 6), (20, 22) are 16 × 16; floats stay; classes are sorted; difficult objects are crowds."""
    data = read_voc(voc(drawn, difficult='1'), ImageFolder(drawn.images), None)
    expected = [('square', [4, 6, 16, 16], 1), ('bar', [30, 20.5, 28, 8], 0)]
    assert found(data) == {f'{number}.png': expected for number in range(8)}
    assert data.names() == ['bar', 'square']
    assert [item['area'] for item in data.objects[:2]] == [256, 224]
    assert data.place(1) == '0.xml, object 2'
    assert data.counted.tolist() == [False, True] * 8


def test_files_that_name_other_images(tmp_path: Path):
    """Images .JPG, a ``filename`` from another machine, no size: as annotation tools leave them."""
    drawn = draw(tmp_path / 'with a space', 2, '.JPG')
    folder = voc(drawn, size='', name='C:\\somewhere\\no such.png')
    data = read_voc(folder, ImageFolder(drawn.images), ('square', 'bar'))
    assert [(image['file_name'], image['width'], image['height']) for image in data.images] == [
        ('0.JPG', 64, 48),
        ('1.JPG', 64, 48),
    ]
    assert data.names() == ['square', 'bar']
    assert set(data.unsized) == {1, 2}


def test_corners_in_the_wrong_order_are_put_in_order(drawn: Drawn):
    """Any two opposite corners; the number of such boxes is told."""
    folder = voc(drawn)
    for number, corners in enumerate(((20, 6, 4, 22), (4, 22, 20, 6), (20, 22, 4, 6))):
        path = folder / f'{number}.xml'
        text = path.read_text()
        for tag, old, new in zip(('xmin', 'ymin', 'xmax', 'ymax'), (4, 6, 20, 22), corners, strict=True):
            text = text.replace(f'<{tag}>{old}<', f'<{tag}>{new}<')
        path.write_text(text)
    data = read_voc(folder, ImageFolder(drawn.images), None)
    assert all(item['bbox'] == [4, 6, 16, 16] for item in data.objects[::2])
    assert any(line.startswith('3 boxes') for line in data.changes)


@pytest.mark.parametrize(
    ('declaration', 'encoding'),
    [
        ('<?xml version="1.0" encoding="GBK"?>', 'gbk'),
        ("<?xml version='1.0' encoding='Shift_JIS'?>", 'shift_jis'),
        ('<?xml version="1.0" encoding="UTF-16"?>', 'utf-16'),
        ('<?xml version="1.0" encoding="UTF-16"?>', 'utf-16-le'),
        ('', 'utf-16-be'),
        ('<?xml version="1.0" encoding="utf-16"?>', 'utf-8'),
        ('<?xml version="1.0"?>', 'utf-8-sig'),
        ('<?xml version="1.0" encoding="ISO-8859-15"?>', 'iso-8859-15'),
    ],
)
def test_declared_and_marked_encodings(drawn: Drawn, declaration: str, encoding: str):
    """The last but one is what .NET writes into a file in UTF-8."""
    name = 'größe' if encoding == 'iso-8859-15' else '大' if 'iso' not in encoding else ''
    folder = voc(drawn)
    (folder / '0.xml').write_bytes((declaration + ONE.replace('>square<', f'>{name}<')).encode(encoding))
    assert name in read_voc(folder, ImageFolder(drawn.images), None).names()


@pytest.mark.parametrize(
    'content',
    [
        ONE.replace('square', '大').encode('gbk'),
        ('<?xml version="1.0" encoding="ascii"?>' + ONE.replace('square', 'é')).encode(),
        ('<?xml version="1.0" encoding="no-such"?>' + ONE).encode(),
        ('<?xml version="1.0" encoding="zip"?>' + ONE).encode(),
        ('<?xml version="1.0" encoding="hex"?>' + ONE).encode(),
        ('<?xml version="1.0" encoding="utf-16"?>' + ONE).encode('utf-16')[:-1],
    ],
)
def test_other_encodings_are_refused_by_file(drawn: Drawn, content: bytes):
    folder = voc(drawn)
    (folder / '3.xml').write_bytes(content)
    with pytest.raises(DataError, match=r'3\.xml: .* Save it as UTF-8'):
        read_voc(folder, ImageFolder(drawn.images), None)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaa"><!ENTITY b "&a;&a;&a;">]><annotation><folder>&b;</folder></annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><folder>&a;</folder></annotation>'


@pytest.mark.parametrize('text', [BOMB, OUTSIDE])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_entities_are_refused_in_any_encoding(drawn: Drawn, text: str, encoding: str):
    folder = voc(drawn)
    (folder / '3.xml').write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r'3\.xml: .*DOCTYPE'):
        read_voc(folder, ImageFolder(drawn.images), None)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('<annotation>', 'XML'),
        ('', 'XML'),
        ('<annotation>&undefined;</annotation>', 'XML'),
        ('<html/>', '<html>'),
        ('<annotation><object/></annotation>', 'object 1 has no <name>'),
        ('<annotation><object><name>bar</name></object></annotation>', 'object 1 has no <bndbox/xmin>'),
        ('<annotation><size><width>wide</width></size></annotation>', 'wide'),
        ('<annotation><size><width>inf</width></size></annotation>', 'inf'),
        (ONE.replace('<xmin>4<', '<xmin>four<'), 'object 1'),
        (ONE.replace('<xmin>4<', '<xmin>nan<'), 'object 1'),
        (ONE.replace('<xmin>4<', '<xmin>1e999<'), 'object 1'),
    ],
)
def test_an_error_of_a_file(drawn: Drawn, text: str, words: str):
    folder = voc(drawn)
    (folder / '3.xml').write_text(text)
    with pytest.raises(DataError, match=r'3\.xml: ') as refused:
        read_voc(folder, ImageFolder(drawn.images), None)
    assert words in str(refused.value)


def test_images_of_the_same_name_in_folders(drawn: Drawn):
    """Told apart by the folder of the XML file; where that is flat, several are refused."""
    for name in ('a', 'b'):
        (drawn.images / name).mkdir()
        for image in drawn.content['images']:
            (drawn.images / name / image['file_name']).write_bytes((drawn.images / image['file_name']).read_bytes())
    for image in drawn.content['images']:
        (drawn.images / image['file_name']).unlink()
    folder = voc(drawn)
    with pytest.raises(DataError, match=r'0\.xml: it may be of a/0\.png, b/0\.png'):
        read_voc(folder, ImageFolder(drawn.images), None)
    (folder / 'b').mkdir()
    for path in sorted(folder.glob('*.xml')):
        path.rename(folder / 'b' / path.name)
    data = read_voc(folder, ImageFolder(drawn.images), None)
    assert [image['file_name'] for image in data.images] == [f'b/{number}.png' for number in range(8)]
