"""Hostile and odd annotations: COCO, VOC, YOLO and what lies beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostile.task import Task

#: Names of classes that try to become something else.
NAMES = {
    'a placeholder of a base': '{{ _base_.x }}',
    'a placeholder of a folder': '{{ fileDirname }}',
    'a placeholder of the environment': '{{$HOME:x}}',
    'a half placeholder': 'a {{ b',
    'quotes': 'a\'b"c\'\'\'d"""e',
    'a backslash': 'a\\',
    'code': "'), __import__('os').system('touch code_was_run'), ('",
    'a comment': 'a # b',
    'a format': '%s {0} {x!r} $HOME `id` $(id)',
    'a line end': 'a\nimport os',
    'a carriage return': 'a\rb',
    'a line separator': 'a\u2028b',
    'NUL': 'a\0b',
    'an escape of the terminal': 'a\x1b[31mb',
    'a formula': '$\\frac',
    'a formula of two signs': '$a^$ and $b_$',
    'one dollar': '5$ bill',
    'a lone surrogate': 'a\ud800b',
    'right to left': 'a\u202eb',
    'a mark without width': 'a\u200bb',
    'markup': '<script>alert(1)</script>&amp;',
    'a spreadsheet formula': '=HYPERLINK("http://x")',
    'a path': '../../x',
    'empty': '',
    'blank': '   ',
    '100,000 characters': 'x' * 100_000,
    '10,000 words': 'word ' * 10_000,
    'emoji': '👩\u200d🔬🏽',
    'a number': '007',
    'None': 'None',
    'a combining mark': 'a' + '\u0301' * 200,
}
#: Names of image files that lead elsewhere.
PATHS = (
    '../outside.png',
    '/etc/passwd',
    '../../../../etc/passwd',
    'images/../0.png',
    'a\0.png',
    '~/x.png',
    '',
    '.',
    '..',
    'file:///etc/passwd',
    'http://127.0.0.1:1/x.png',
    's3://a/b.png',
    'x' * 5000,
    '\ud800.png',
    '//0.png',
)


@dataclass(frozen=True)
class OddData:
    """Annotations.

    Attributes:
        what: in words.
        kind: ``'coco'``, ``'voc'`` or ``'yolo'``.
        write: writes into an empty folder; returns the annotations.
        usable: they are used; None: it depends.
    """

    what: str
    kind: str
    write: Callable[[Path], Path]
    usable: bool | None = None


def odd_data(task: Task) -> Iterator[OddData]:
    """All of them."""
    yield from _coco(task)
    yield from _voc(task)
    yield from _yolo(task)


def _coco(task: Task) -> Iterator[OddData]:
    def written(change: Callable[[dict], Any]) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            content = task.annotations()
            changed = change(content)
            file = folder / 'all.json'
            if isinstance(changed, bytes):
                file.write_bytes(changed)
            else:
                file.write_text(json.dumps(content))
            return file

        return write

    def set_in(key: str, name: str, value: Any, every: bool = False) -> Callable[[dict], Any]:
        def change(content: dict) -> None:
            for entry in content[key] if every else content[key][:1]:
                entry[name] = value

        return change

    for what, name in NAMES.items():
        yield OddData(f'COCO, a class called {what}', 'coco', written(set_in('categories', 'name', name)))
    for name in PATHS:
        change = set_in('images', 'file_name', name)
        usable = False if name not in ('images/../0.png', '//0.png') else None
        yield OddData(f'COCO, an image called {name[:30]!r}', 'coco', written(change), usable)
    for key, name, values in (
        ('images', 'id', (None, 'x', 1.5, [1], {}, 10**30, True, -1, float('nan'))),
        ('images', 'width', (None, 'x', 0, -5, 10**12, float('inf'), [64], '64')),
        (
            'annotations',
            'bbox',
            (None, [], [1, 2], 'abcd', [0, 0, float('nan'), 3], [0, 0, 1e300, 1e300], [5, 5, -3, 2], {}, 3),
        ),
        ('annotations', 'area', (None, '400', [0], float('nan'), -1, {}, 10**400)),
        ('annotations', 'iscrowd', (None, 'maybe', 2, [0], True)),
        ('annotations', 'image_id', (None, 'x', 99, [], True)),
        ('annotations', 'category_id', (None, 'x', 99, {}, 0)),
        ('annotations', 'segmentation', ('x', {'counts': 3}, [[1]], [[float('nan')] * 8], 10**9, [[]])),
        ('categories', 'id', (None, 'x', 0, -1, 10**30, [1])),
        ('categories', 'name', (None, 3, ['a'], {})),
    ):
        for value in values:
            for every in (False, True):
                words = f'COCO, {key}.{name} = {str(value)[:20]}{" everywhere" if every else ""}'
                yield OddData(words, 'coco', written(set_in(key, name, value, every)))
    deep = b'[' * 100_000 + b']' * 100_000
    sound = json.dumps(task.annotations()).encode()
    for what, content in {
        'nothing': b'',
        'a list': b'[]',
        'null': b'null',
        'cut off': sound[: len(sound) // 2],
        'nested': deep,
        'nested in an annotation': sound.replace(b'"iscrowd": 0', b'"iscrowd": 0, "x": ' + b'[' * 900 + b']' * 900, 1),
        'a number of 100,000 digits': sound.replace(b'"id": 0', b'"id": ' + b'9' * 100_000, 1),
        'the same key many times': b'{' + b'"images": [], ' * 10_000 + sound[1:],
        'UTF-16': sound.decode().encode('utf-16'),
        'a byte order mark': b'\xef\xbb\xbf' + sound,
        'Latin-1': sound.replace(b'square', b'squ\xe4re'),
        'zeros': bytes(1000),
        'HTML': b'<html></html>',
        'a pickle': b'\x80\x04cposix\nsystem\n(S"true"\ntR.',
        'NaN as JSON has it not': sound.replace(b'20, 20]', b'NaN, 20]', 1),
    }.items():
        yield OddData(
            f'COCO, {what}',
            'coco',
            written(lambda _, content=content: content),
            False if what in ('nothing', 'a list', 'null', 'cut off', 'nested', 'zeros', 'HTML', 'a pickle') else None,
        )
    for what, make in {
        'a pipe': os.mkfifo,
        'a device': lambda path: path.symlink_to('/dev/zero'),
        'a link to itself': lambda path: path.symlink_to(path.name),
        'a folder': lambda path: path.mkdir(),
    }.items():

        def write(folder: Path, make: Callable[[Path], object] = make) -> Path:
            make(folder / 'all.json')
            return folder / 'all.json'

        yield OddData(f'COCO, {what}', 'coco', write, False)

    def many(content: dict, number: int = 100_000) -> None:
        first = content['annotations'][0]
        content['annotations'] = [dict(first, id=index + 1, image_id=index % 6) for index in range(number)]

    yield OddData('COCO, 100,000 objects', 'coco', written(many))

    def many_classes(content: dict) -> None:
        content['categories'] += [dict(id=index, name=f'class {index}') for index in range(3, 20_000)]

    yield OddData('COCO, 20,000 classes', 'coco', written(many_classes))


VOC = """<annotation><filename>{name}</filename><size><width>64</width><height>64</height></size>
<object><name>{first}</name><bndbox><xmin>{x}</xmin><ymin>6</ymin><xmax>20</xmax><ymax>22</ymax></bndbox></object>
</annotation>"""
LAUGHS = '<!DOCTYPE a [<!ENTITY l0 "lol">' + ''.join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(12)) + ']>'


def escaped(text: str) -> str:
    """For an XML file."""
    return text.replace('&', '&amp;').replace('<', '&lt;')


def _voc(task: Task) -> Iterator[OddData]:
    images = [image['file_name'] for image in task.annotations()['images']]

    def folder_of(first: bytes | Callable[[Path], object], named: str = '0.xml') -> Callable[[Path], Path]:
        """A folder of sound files, and one that is not."""

        def write(folder: Path) -> Path:
            place = folder / 'xml'
            place.mkdir()
            for image in images[1:]:
                (place / image).with_suffix('.xml').write_text(VOC.format(name=image, first='bar', x=4))
            if isinstance(first, bytes):
                (place / named).write_bytes(first)
            else:
                first(place / named)
            return place

        return write

    def text(name: str = '0.png', first: str = 'square', x: str = '4', before: str = '') -> bytes:
        return (before + VOC.format(name=escaped(name), first=escaped(first), x=x)).encode('utf-8', 'surrogatepass')

    for what, name in NAMES.items():
        yield OddData(f'VOC, a class called {what}', 'voc', folder_of(text(first=name)))
    for name in PATHS:
        yield OddData(f'VOC, an image called {name[:30]!r}', 'voc', folder_of(text(name=name)))
    for what, before, first in (
        ('laughs', LAUGHS, '&l12;'),
        ('a quadratic entity', f'<!DOCTYPE a [<!ENTITY a "{"x" * 100_000}">]>', '&a;' * 10_000),
        ('an external entity', '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', '&x;'),
        ('an entity of a parameter', '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x">%x;]>', 'a'),
        ('an external document type', '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:1/x.dtd">', 'a'),
        ('a declaration in small letters', '<!doctype a>', 'a'),
    ):
        content = before + VOC.format(name='0.png', first=first, x=4)
        for encoding in ('utf-8', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'utf-7'):
            declared = (
                ''
                if encoding in ('utf-8', 'utf-16-le', 'utf-16-be')
                else f'<?xml version="1.0" encoding="{encoding}"?>'
            )
            data = (declared + content).encode(encoding)
            yield OddData(f'VOC, {what} in {encoding}', 'voc', folder_of(data), False)
    for value in ('', 'x', 'nan', 'inf', '1e999', '-5', '٣', '1_0', '0x10', '9' * 5000, '100000'):
        yield OddData(f'VOC, xmin = {value[:12]!r}', 'voc', folder_of(text(x=value)))
    for what, data in {
        'nothing': b'',
        'cut off': text()[:100],
        'zeros': bytes(1000),
        'no annotation': b'<html/>',
        'nested': b'<a>' * 200_000 + b'</a>' * 200_000,
        'nested and named': b'<annotation>' + b'<object>' * 5000 + b'</object>' * 5000 + b'</annotation>',
        'another encoding': b'<?xml version="1.0" encoding="gbk"?>' + text(first='方').decode().encode('gbk'),
        'an encoding that is none': b'<?xml version="1.0" encoding="nope"?>' + text(),
        'an encoding that unpacks': b'<?xml version="1.0" encoding="zlib"?>' + text(),
        'an encoding of base64': b'<?xml version="1.0" encoding="base64"?>' + text(),
        'an encoding of idna': b'<?xml version="1.0" encoding="idna"?>' + text(),
        'UTF-16 without a mark': text().decode().encode('utf-16-le'),
        'many attributes': b'<annotation ' + b' '.join(b'a%d="x"' % n for n in range(50_000)) + b'/>',
        'an instruction': b'<?xml-stylesheet href="file:///etc/passwd"?>' + text(),
        'includes': text().replace(
            b'<size>', b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/><size>'
        ),
        'another namespace': text().replace(b'<annotation>', b'<annotation xmlns="http://x">'),
        'a size of text': text().replace(b'<width>64', b'<width>wide'),
        'a size without end': text().replace(b'<width>64', b'<width>1e400'),
    }.items():
        yield OddData(f'VOC, {what}', 'voc', folder_of(data))
    for what, make in {
        'a pipe': os.mkfifo,
        'a device': lambda path: path.symlink_to('/dev/zero'),
        'a link to a secret': lambda path: path.symlink_to('/etc/passwd'),
        'a link to nothing': lambda path: path.symlink_to('gone'),
    }.items():
        yield OddData(f'VOC, {what}', 'voc', folder_of(make))

    def loop(path: Path) -> None:
        path.with_name('inside').symlink_to(path.parent)

    yield OddData('VOC, a folder in itself', 'voc', folder_of(loop))


def _yolo(task: Task) -> Iterator[OddData]:
    images = [image['file_name'] for image in task.annotations()['images']]

    def folder_of(
        first: bytes | Callable[[Path], object], names: bytes = b'names: [square, bar]'
    ) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            place = folder / 'labels'
            place.mkdir()
            (folder / 'data.yaml').write_bytes(names)
            for image in images[1:]:
                (place / image).with_suffix('.txt').write_text('1 0.5 0.5 0.2 0.2\n')
            if isinstance(first, bytes):
                (place / '0.txt').write_bytes(first)
            else:
                first(place / '0.txt')
            return place

        return write

    sound = b'0 0.5 0.5 0.2 0.2\n'
    for what, name in NAMES.items():
        try:
            listed = json.dumps({'names': [name, 'bar']}, ensure_ascii=True).encode()
        except UnicodeError:
            continue
        yield OddData(f'YOLO, a class called {what}', 'yolo', folder_of(sound, listed))
    for line in (
        '',
        'x',
        '0',
        '0 1',
        '0 nan 0 1 1',
        '0 inf 0 1 1',
        '0 1e999 0 1 1',
        '-1 0.5 0.5 0.1 0.1',
        '9 0.5 0.5 0.1 0.1',
        '0.5 0.5 0.5 0.1 0.1',
        '1e30 0.5 0.5 0.1 0.1',
        '0 5 5 1 1',
        '0 0.5 0.5 -0.1 0.1',
        '0 ' + '0.5 ' * 100_000,
        '0 0.5,0.5,0.1,0.1',
        '0\t0.5\t0.5\t0.1\t0.1',
        '٣ 0.5 0.5 0.1 0.1',
        '0 0.5 0.5 0.1 0.1 0.9',
        '9' * 10_000,
    ):
        yield OddData(f'YOLO, a line {line[:24]!r}', 'yolo', folder_of(line.encode()))
    for what, data in {
        'UTF-16': sound.decode().encode('utf-16'),
        'zeros': bytes(1000),
        'noise': bytes(range(256)) * 20,
        'CR': sound.replace(b'\n', b'\r') * 3,
        'blank lines': b'\n\r\n  \n' * 10_000 + sound,
        '100,000 lines': sound * 100_000,
    }.items():
        yield OddData(f'YOLO, {what}', 'yolo', folder_of(data))
    laughs = b'a: &a [x, x, x, x, x, x, x, x, x]\n' + b''.join(
        b'%c: &%c [%s]\n' % (98 + n, 98 + n, b', '.join([b'*%c' % (97 + n)] * 9)) for n in range(9)
    )
    for what, names in {
        'a list of laughs': laughs + b'names: *j\n',
        'laughs beside': laughs + b'names: [square, bar]\n',
        'laughs as a name': laughs + b'names: {0: *j, 1: bar}\n',
        'a call': b'names: !!python/object/apply:os.system ["touch code_was_run"]\n',
        'an object': b'!!python/object/new:os.system ["touch code_was_run"]\n',
        'itself': b'names: &a [*a, *a]\n',
        'merged': b'a: &a {0: square}\nnames: {<<: *a, 1: bar}\n',
        'nested': b'names: ' + b'[' * 20_000 + b']' * 20_000,
        'numbers': b'names: {0: 1, 1: 2}\n',
        'a gap': b'names: {0: a, 2: b}\n',
        'twice': b'names: [a, a]\n',
        'tabs': b'names:\n\t- a\n',
        'Latin-1': b'names: [squ\xe4re, bar]\n',
        'UTF-16': 'names: [square, bar]\n'.encode('utf-16'),
        'nothing': b'',
        'text': b'names: square bar\n',
        '200,000 names': b'names:\n' + b'- x\n' * 200_000,
    }.items():
        yield OddData(f'YOLO, names: {what}', 'yolo', folder_of(sound, names))
    for what, make in {
        'a pipe': os.mkfifo,
        'a device': lambda path: path.symlink_to('/dev/zero'),
        'a link to a secret': lambda path: path.symlink_to('/etc/passwd'),
    }.items():
        yield OddData(f'YOLO, {what}', 'yolo', folder_of(make))

    def beside(path: Path) -> None:
        path.write_bytes(sound)
        os.mkfifo(path.parent.parent / 'classes.txt')

    yield OddData('YOLO, a pipe as classes.txt', 'yolo', folder_of(beside))
