"""Whatever a file holds, it ends in data that mmdet can use or in one error of the user's.

Inputs are drawn by hypothesis: sound files with a few values replaced by anything.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('hypothesis')

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mmdet_dab.data import new_dataset
from mmdet_dab.data.annotations import Annotations, is_box
from mmdet_dab.data.base_model import FROM_SCRATCH, BaseModel
from mmdet_dab.data.checks.annotations import check_annotations
from mmdet_dab.data.checks.classes import check_categories, check_classes, name_problem
from mmdet_dab.data.checks.config import check_config
from mmdet_dab.data.coco import check_usable, complete, read_coco
from mmdet_dab.data.config_writer import config_text
from mmdet_dab.data.data_paths import DataPaths
from mmdet_dab.data.formats import read
from mmdet_dab.data.images import ImageFolder
from mmdet_dab.data.new_dataset import make
from mmdet_dab.data.recipe import Recipe
from mmdet_dab.data.statistics import Resizing, measure
from mmdet_dab.errors import UserError
from tests.helpers.drawn import SIZE, VOC, Drawn, draw
from tests.helpers.paths import CONFIGS

#: The same images for all examples: nothing writes into their folder.
FOLDER = Path(tempfile.mkdtemp(prefix='drawn'))
DRAWN = draw(FOLDER)
IMAGES = ImageFolder(DRAWN.images)
#: The same examples every time, so that a failure is one of the change that was made.
QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

extremes = [0, -1, 1e300, -1e300, 2**70, float('nan'), float('inf')]
numbers = st.one_of(st.integers(-3, 100), st.floats(-10, 200), st.sampled_from(extremes))
scalars = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=5), numbers.map(str))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


KEYS = {
    'images': 'id file_name width height',
    'annotations': 'id image_id category_id bbox area iscrowd ignore segmentation',
    'categories': 'id name',
}


@st.composite
def contents(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """A sound annotation file with up to four values replaced, taken out, or added."""
    content = json.loads(json.dumps(DRAWN.content))
    for _ in range(draw(st.integers(0, 4))):
        key = draw(st.sampled_from(['images', 'annotations', 'categories']))
        row = draw(st.integers(0, len(content[key]) - 1))
        name = draw(st.sampled_from(KEYS[key].split()))
        rows = content[key] if draw(st.booleans()) else content[key][row : row + 1]
        value = draw(st.one_of(anything, st.lists(numbers, min_size=4, max_size=4)))
        for entry in rows:
            if draw(st.booleans()):
                entry[name] = value
            else:
                entry.pop(name, None)
    return content


def attempt(function: Callable[[], Annotations], path: Path) -> Annotations | None:
    """What a reader gives; None where it refuses the file by its name."""
    try:
        return function()
    except UserError as error:
        if str(path) not in str(error):
            raise
        return None


def usable(data: Annotations) -> None:
    """What the package relies on after reading: no check and no measure breaks on it."""
    findings = [*check_annotations(data, training=True), *check_annotations(data, training=False)]
    findings += check_categories(data)
    for name in dict.fromkeys(data.names()):
        findings += check_classes(data, (name,), training=True)
    assert all('\n' not in str(finding) for finding in findings)
    if not any(finding.stops for finding in findings):
        measure(data, data.names())
        assert all(is_box(item['bbox']) for item in data.objects)


@QUICK
@given(contents())
@example({'images': [], 'annotations': [], 'categories': []})
def test_coco(content: dict[str, Any]):
    """A completed file is complete: it can be written, read and used, and needs no second completion."""
    path = FOLDER / 'any.json'
    path.write_text(json.dumps(content))
    data = attempt(lambda: complete(read_coco(path), IMAGES.size), path)
    if data is None:
        return
    usable(data)
    data.write(FOLDER / 'clean.json')
    clean = read_coco(FOLDER / 'clean.json')
    again = complete(clean, lambda name: None)
    known = all(image['width'] for image in data.images)
    assert not again.changes or not known
    if known and not any(finding.stops for finding in check_annotations(data, training=False)):
        check_usable(clean, training=False)


@QUICK
@given(anything)
def test_any_json(content: Any):
    path = FOLDER / 'odd.json'
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'odd\.json'):
        read_coco(path)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes):
    """As a COCO file, a VOC file, a file of labels and one of names."""
    root = FOLDER / 'bytes'
    for name in ('xml/0.xml', 'txt/0.txt', 'names/data.yaml', 'names/txt/0.txt', 'a.json'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if name != 'names/txt/0.txt' else b'0 0.5 0.5 0.1 0.1')
    for kind, path, classes in (
        ('coco', root / 'a.json', None),
        ('voc', root / 'xml', None),
        ('yolo', root / 'txt', ('a',)),
        ('yolo', root / 'names/txt', None),
    ):
        data = attempt(partial(read, path, kind, IMAGES, classes), root)
        if data is not None:
            usable(data)


texts = st.one_of(numbers.map(str), st.text(max_size=6), st.sampled_from(['', ' ', 'nan', 'inf', '1e999', '٣', '1_0']))
#: Characters by their number, as XML writes a carriage return or half of a pair; some are none.
references = st.one_of(st.sampled_from([9, 10, 13, 0x85, 0x2028, 0xD800, 0xFFFF, 0]), st.integers(0, 0x11FFFF)).map(
    lambda number: f'a&#{number};b'
)


@QUICK
@given(
    st.lists(
        st.tuples(st.sampled_from(['4', '6', '20', '22', 'square', 'difficult>0', '64']), st.one_of(texts, references)),
        max_size=3,
    )
)
@example([('square', 'a&#13;b')])
def test_voc(changes: list[tuple[str, str]]):
    """A sound file with texts replaced; signs of XML are escaped, so that it stays XML most of the time."""
    folder = FOLDER / 'voc'
    folder.mkdir(exist_ok=True)
    text = VOC.format(name='0.png', size=SIZE, first='square', difficult='0')
    for old, new in changes:
        escaped = new if new.startswith('a&#') else new.replace('&', '&amp;').replace('<', '&lt;')
        text = text.replace(f'>{old}<', f'>{escaped}<', 1)
    (folder / '0.xml').write_bytes(text.encode('utf-8', 'surrogatepass'))
    data = attempt(partial(read, folder, 'voc', IMAGES, None), folder / '0.xml')
    if data is None:
        return
    usable(data)
    assert all(item['bbox'][2] >= 0 and item['bbox'][3] >= 0 for item in data.objects)
    if not any(finding.stops for finding in check_categories(data)):
        assert all(len(name.splitlines()) == 1 for name in data.names())


@QUICK
@given(st.lists(st.lists(texts, min_size=3, max_size=8), max_size=3))
def test_yolo(lines: list[list[str]]):
    folder = FOLDER / 'yolo'
    folder.mkdir(exist_ok=True)
    (folder / '0.txt').write_bytes('\n'.join(' '.join(line) for line in lines).encode('utf-8', 'surrogatepass'))
    data = attempt(partial(read, folder, 'yolo', IMAGES, ('square', 'bar')), folder / '0.txt')
    if data is not None:
        usable(data)


RECIPE = Recipe(
    resizing=Resizing((64, 48), keep_ratio=False),
    num_queries=20,
    max_per_img=20,
    anchor_size=(0.2, 0.2),
    num_anchor_sizes=1,
    batch_size=4,
    max_epochs=12,
    steps_per_epoch=2,
    warm_up=2,
    val_interval=1,
    learning_rate=1e-3,
    ema_momentum=0.01,
    num_workers=1,
    reasons=dict.fromkeys(('scale', 'queries', 'anchors', 'epochs', 'learning_rate'), 'Because.'),
)
pieces = [*'{}\'"\\$#%\n\r_.:, ', '_base_', 'fileDirname', '{{', '}}', '$HOME']
names = st.one_of(st.text(st.characters(), max_size=20), st.lists(st.sampled_from(pieces), max_size=8).map(''.join))


@settings(QUICK, max_examples=40)
@given(st.lists(names, min_size=1, max_size=4), names)
def test_a_written_config_gives_names_and_paths_back(classes: list[str], path: str):
    """All names, also those that are refused before."""
    paths = DataPaths(path, (True, path), (True, path), (False, path), (True, ''))
    base = BaseModel(FROM_SCRATCH, 16, 'a.pth', 30, tuple(classes), denoising=True)
    file = FOLDER / 'written.py'
    text = config_text(file, CONFIGS, paths, classes, RECIPE, base, [path, *classes])
    file.write_text(text, encoding='utf-8')
    cfg = Config.fromfile(file)
    assert cfg.metainfo.classes == tuple(classes)
    assert cfg.train_dataloader.dataset.ann_file == path + path
    assert cfg.val_evaluator.ann_file == path


@QUICK
@given(names)
def test_names_that_are_accepted_survive_the_config_that_a_training_run_saves(name: str):
    """The Runner writes the config into the work directory; it is read again to use the detector."""
    if name_problem(name):
        return
    saved = FOLDER / 'saved.py'
    Config(dict(classes=(name,))).dump(saved)
    assert Config.fromfile(saved).classes == (name,)


@settings(QUICK, max_examples=25)
@given(contents())
def test_what_new_data_accepts_a_training_run_accepts(content: dict[str, Any]):
    folder = FOLDER / 'judged'
    folder.mkdir(exist_ok=True)
    drawn = Drawn(FOLDER, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_dataset, 'draw_sheet', lambda *_: None)
        patch.chdir(folder)
        request = drawn.request(drawn.coco('judged.json'), out=folder / 'cells.py', overwrite=True)
        try:
            make(request)
        except UserError:
            return
        findings = check_config(Config.fromfile(request.out), ('train', 'val', 'test'))
        assert not any(finding.stops for finding in findings), findings
