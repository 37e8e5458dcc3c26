"""Where a written config finds the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmdet_dab.data.data_paths import DataPaths, data_paths, way_from


def make(tmp_path: Path, *files: str) -> list[Path]:
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text('')
        else:
            path.mkdir(exist_ok=True)
    return [tmp_path / file for file in files]


def paths(train: tuple[Path, Path], val: tuple[Path, Path], sources: list[Path], absolute: bool = True) -> DataPaths:
    return data_paths(train, val, sources, absolute=absolute)


def test_sound_files_in_a_dataset_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The root is the folder that has images and annotations, named from the current folder below which it is."""
    train, val, images = make(tmp_path, 'data/cells/ann/train.json', 'data/cells/ann/val.json', 'data/cells/images')
    monkeypatch.chdir(tmp_path)
    expected = DataPaths(
        'data/cells/', (True, 'ann/train.json'), (True, 'images/'), (True, 'ann/val.json'), (True, 'images/')
    )
    assert paths((train, images), (val, images), [train, val]) == expected
    assert paths((train, images), (val, images), [train, val], absolute=False) == expected


def test_converted_annotations_lie_elsewhere_and_do_not_move_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Data and config have only a folder of everything in common: the root is the data's."""
    source, images, written = make(tmp_path, 'data/cells/xml', 'data/cells/images', 'configs/cells_annotations/a.json')
    monkeypatch.chdir(tmp_path)
    found = paths((written, images), (written, images), [source])
    assert found.root == 'data/cells/'
    assert found.train_annotations == (False, 'configs/cells_annotations/a.json')


@pytest.mark.parametrize('current', ['project', '.'])
def test_a_folder_of_everything_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: str):
    """Images and annotations in two folders of the temporary one: the root is that of the images."""
    images, source, _ = make(tmp_path, 'a/images', 'b/all.json', 'project/x.py')
    monkeypatch.chdir(tmp_path / current)
    monkeypatch.setattr('tempfile.gettempdir', lambda: str(tmp_path))
    found = paths((source, images), (source, images), [source])
    assert found.root.rstrip('/').endswith('a')
    assert found.train_images == (True, 'images/')
    assert found.train_annotations[0] is False
    assert found.train_annotations[1].endswith('b/all.json')


def test_data_elsewhere_are_named_as_the_user_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, images, _ = make(tmp_path, 'data/all.json', 'data/images', 'project/sub/x.py')
    monkeypatch.chdir(tmp_path / 'project')
    assert paths((source, images), (source, images), [source]).root == f'{tmp_path}/data/'
    relative = Path('../data')
    pair = (relative / 'all.json', relative / 'images')
    assert paths(pair, pair, [pair[0]], absolute=False).root == '../data/'


def test_nothing_in_common(monkeypatch: pytest.MonkeyPatch):
    """Annotations on another disk are named by their whole path, and nothing hangs on the root of all files."""
    annotations = Path('/annotations of mine/train.json')
    found = paths((annotations, Path('/data/cells/images')), (annotations, Path('/data/cells/images')), [annotations])
    whole = (False, str(annotations))
    assert found == DataPaths('/data/cells/', whole, (True, 'images/'), whole, (True, 'images/'))


def test_images_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (source,) = make(tmp_path, 'all.json')
    monkeypatch.chdir(tmp_path)
    found = paths((source, Path()), (source, Path()), [source])
    assert found == DataPaths('./', (True, 'all.json'), (True, ''), (True, 'all.json'), (True, ''))


def test_a_link_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path, 'data/all.json', 'data/images', 'here/x.py')
    (tmp_path / 'here/link').symlink_to(tmp_path / 'data')
    monkeypatch.chdir(tmp_path / 'here')
    pair = (Path('link/all.json'), Path('link/images'))
    assert paths(pair, pair, [pair[0]], absolute=False).root == 'link/'


def test_the_way_to_the_bases():
    assert way_from(Path('/home/me/mine'), Path('/home/me/repo/configs')) == '../repo/configs'
    assert way_from(Path('/home/me'), Path('/data/configs')) == '/data/configs'
