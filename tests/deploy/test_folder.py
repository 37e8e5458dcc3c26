"""Images and videos through a detector: what is written, and what is said of what cannot be read."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_dab.commands import arguments
from mmdet_dab.deploy import Detections, draw
from mmdet_dab.deploy.folder import Run
from mmdet_dab.deploy.results import FORMATS, Drawn, JsonFiles, make_folder
from mmdet_dab.deploy.video import FRAMES_PER_SECOND, Video, VideoWriter, check_codec
from mmdet_dab.errors import DataError, UserError
from mmdet_dab.media_files import find_media
from tests.helpers.hand_made import CLASSES

PALETTE = ((255, 0, 0), (0, 255, 0))


class Stub:
    """Finds two objects in each image; the first score tells how many images the batch had."""

    def batch(self, images: Sequence[np.ndarray], threshold: float | None = None) -> list[Detections]:
        if any(image.shape[0] == 7 for image in images):
            raise DataError('the file cannot run on it.')
        scores = np.array([0.5 + len(images) / 100, 0.2], dtype=np.float32)
        boxes = np.array([[1, 2, 11, 22], [0, 0, 5, 5]], dtype=np.float32)
        found = Detections(boxes, scores, np.array([1, 0]), CLASSES[::-1])
        return [found.above(threshold or 0)] * len(images)


def frame(number: int) -> np.ndarray:
    """A bright bar that moves, on grey."""
    image = np.full((48, 64, 3), 90, np.uint8)
    image[:, number % 60 : number % 60 + 4] = 240
    return image


def write_video(path: Path, frames: int = 12, codec: str = 'mp4v') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 5, (64, 48))
    for number in range(frames):
        writer.write(frame(number))
    writer.release()
    return path


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = tmp_path / 'shots'
    (folder / 'deep').mkdir(parents=True)
    for name in ('a.png', 'a.jpg', 'deep/a.png'):
        cv2.imwrite(str(folder / name), frame(3))
    write_video(folder / 'deep/clip.mp4')
    return folder


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_every_format_has_every_image_frame_and_name(shots: Path, tmp_path: Path):
    out = tmp_path / 'out'
    make_folder(out)
    writers = [FORMATS[name](out, CLASSES) for name in ('json', 'csv', 'coco')]
    work = Run(Stub(), writers, threshold=0.3, batch_size=5)
    assert work(find_media([shots])) == 0
    assert (work.images, work.videos) == (3, 1)

    listed = json.loads((out / 'detections.json').read_text())
    files = ['a.jpg', 'a.png', 'deep/a.png', *['deep/clip.mp4'] * 12]
    assert [row['file'] for row in listed] == files
    assert [row.get('frame') for row in listed] == [None, None, None, *range(12)]
    assert listed[-1]['seconds'] == 2.2
    assert (listed[0]['height'], listed[0]['width']) == (48, 64)
    assert {len(row['scores']) for row in listed} == {1}
    assert listed[0]['scores'] == [0.55], 'a batch goes on over the limits of files'
    assert listed[0]['boxes'] == [[1, 2, 11, 22]]
    assert listed[0]['names'] == [CLASSES[1]]

    table = rows_of_csv(out / 'detections.csv')
    assert [row['file'] for row in table] == files
    assert [row['frame'] for row in table] == ['', '', '', *map(str, range(12))]
    assert {row['name'] for row in table} == {CLASSES[1]}
    assert table[0]['x2'] == '11.00'

    coco = COCO(str(out / 'images.coco.json')).loadRes(str(out / 'detections.coco.json'))
    assert [image['file_name'] for image in coco.loadImgs(sorted(coco.imgs))] == files
    assert {found['category_id'] for found in coco.anns.values()} == {2}
    assert coco.anns[1]['bbox'] == [1, 2, 10, 20]
    assert [category['name'] for category in coco.cats.values()] == list(CLASSES)


def test_every_format_is_an_option():
    assert tuple(FORMATS) == arguments.FORMATS


def test_names_come_back_whole(tmp_path: Path):
    """Quotes, line ends and markup, through both formats of text."""
    cv2.imwrite(str(tmp_path / 'a,"b".png'), frame(0))
    make_folder(tmp_path / 'out')
    writers = [FORMATS[name](tmp_path / 'out', CLASSES) for name in ('json', 'csv')]
    Run(Stub(), writers)(find_media([tmp_path / 'a,"b".png']))
    assert json.loads((tmp_path / 'out/detections.json').read_text())[0]['names'] == list(CLASSES[::-1])
    table = rows_of_csv(tmp_path / 'out/detections.csv')
    assert [row['name'] for row in table] == list(CLASSES[::-1])
    assert table[0]['file'] == 'a,"b".png'


def test_a_huge_image_is_drawn_reduced(monkeypatch: pytest.MonkeyPatch):
    """7 × 5 pixels with room for 12 are 3 × 2 blocks of 2 × 2; the column and row that are left over go."""
    monkeypatch.setattr(draw, 'MOST_DRAWN', 12)
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    found = Detections(np.float32([[1, 2, 6, 4]]), np.float32([0.5]), np.array([0]), ('a',))
    small, moved = draw.for_screen(image, found)
    assert small.shape == (2, 3, 3)
    assert small[1, 2].tolist() == [66, 67, 68], '(54 + 57 + 75 + 78) / 4 in blue'
    assert moved.boxes.tolist() == [[0.5, 1, 3, 2]]


def test_nothing_found_is_an_empty_list(tmp_path: Path):
    cv2.imwrite(str(tmp_path / 'a.png'), frame(0))
    for name in FORMATS:
        writer = FORMATS[name](tmp_path, CLASSES)
        Run(Stub(), [writer], threshold=0.99)(find_media([tmp_path / 'a.png']))
    assert json.loads((tmp_path / 'detections.coco.json').read_text()) == []
    assert json.loads((tmp_path / 'detections.json').read_text())[0]['boxes'] == []
    assert rows_of_csv(tmp_path / 'detections.csv') == []


def test_drawn_images_videos_and_a_json_for_each(shots: Path, tmp_path: Path):
    out = tmp_path / 'out'
    files = find_media([shots])
    writers = [Drawn(out / 'vis', PALETTE, 0.3, 'mp4v'), JsonFiles(out / 'preds', [file.name for file in files])]
    assert Run(Stub(), writers)(files) == 0
    image = cv2.imread(str(out / 'vis/deep/a.png'))
    assert image.shape == (48 * 7, 64 * 7, 3), 'enlarged, so that the label can be read'
    assert (image[2 * 7 + 40, 1 * 7] == (0, 255, 0)).all(), 'the left side of the box, in the colour of its class'
    assert not (image == (0, 0, 255)).all(axis=2).any(), 'a score under the threshold was drawn'
    video = Video(out / 'vis/deep/clip.mp4')
    drawn = list(video)
    assert len(drawn) == 12
    assert video.frames_per_second == 5
    assert drawn[0].image.shape == image.shape
    paths = {path.relative_to(out).as_posix() for path in (out / 'preds').rglob('*.json')}
    assert paths == {f'preds/{name}.json' for name in ('a.jpg', 'a.png', 'deep/a', 'deep/clip')}
    content = json.loads((out / 'preds/deep/a.json').read_text())
    assert content['labels'] == [1, 0]
    assert content['bboxes'][0] == [1, 2, 11, 22]
    assert [row['frame'] for row in json.loads((out / 'preds/deep/clip.json').read_text())] == list(range(12))


def test_what_cannot_be_read_is_named_and_the_rest_is_done(
    shots: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (shots / 'broken.png').write_bytes(b'no image')
    (shots / 'empty.mp4').write_bytes(b'')
    cv2.imwrite(str(shots / 'flat.png'), np.zeros((7, 20, 3), np.uint8))
    whole = write_video(shots / 'whole.avi', 30, 'MJPG').read_bytes()
    (shots / 'cut.avi').write_bytes(whole[: len(whole) // 2])
    work = Run(Stub(), [FORMATS['json'](tmp_path, CLASSES)], batch_size=4)
    assert work(find_media([shots])) == 1
    said = capfd.readouterr().err.splitlines()
    named = [name for name in ('broken.png', 'empty.mp4', 'flat.png', 'cut.avi') for line in said if name in line]
    assert named == ['broken.png', 'empty.mp4', 'flat.png', 'cut.avi']
    assert work.errors == len(said) == 4, 'one line each, and none of the decoder'
    assert next(line for line in said if 'cut.avi' in line).count('30') == 1
    rows = json.loads((tmp_path / 'detections.json').read_text())
    counts = {name: sum(row['file'] == name for row in rows) for name in ('a.png', 'whole.avi', 'cut.avi', 'flat.png')}
    assert counts['a.png'] == 1
    assert counts['whole.avi'] == 30
    assert 5 < counts['cut.avi'] < 30
    assert counts['flat.png'] == 0


def test_a_codec_that_cannot_be_written_is_refused(capfd: pytest.CaptureFixture[str]):
    check_codec('mp4v')
    for codec in ('zzzz', 'much too long', '', 'ääää'):
        with pytest.raises(UserError, match=f'--codec {codec}.*mp4v'):
            check_codec(codec)
    assert capfd.readouterr() == ('', '')


def test_a_video_that_was_not_written_whole_is_refused(tmp_path: Path):
    writer = VideoWriter(tmp_path / 'a.mp4', 'mp4v', FRAMES_PER_SECOND)
    writer.add(frame(0))
    writer.written += 5  # as if the disk had been full
    with pytest.raises(UserError, match=r'a\.mp4'):
        writer.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='file'):
        make_folder(tmp_path / 'file')
