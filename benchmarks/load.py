"""What grows under load: ``python -m benchmarks.load soak`` and ``… sizes``.

``soak`` trains for thousands of steps, in one process and in two, and predicts on thousands of
images of varying size: memory and open files must stay what they were after the warm-up. ``sizes``
does what a large dataset asks for with n and with 2n of something, each in a process of its own,
and writes down time and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import runner as mmengine_runner

from benchmarks.interruptions import Pipe, Variant, config_of, met, wait
from benchmarks.side_by_side import ROOT
from mmdet_dab import cli, launch
from mmdet_dab.config import build, load_config
from mmdet_dab.registry import MODELS

RESULTS = ROOT / 'benchmarks' / 'results' / 'load'
CONFIG = 'configs/shapes/dab_detr_shapes_5min.py'
#: Share of a soak that warms up: caches fill, and the allocator meets every size.
WARM_UP = 0.2
#: Growth of memory that is allowed after it.
ALLOWED = 0.02
SAMPLES = 200
#: Files that a case of ``sizes`` may have open at a time.
OPEN_FILES = 256
#: A small detector takes minutes for what a large one takes hours for: it is the same code.
SMALL = {
    'model.embed_dims': 32,
    'model.num_heads': 4,
    'model.hidden_dims': 64,
    'model.decoder.num_layers': 2,
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 8,
    'model.neck.in_channels': [16],
}


@dataclass(frozen=True)
class Sample:
    """A look at a process.

    Attributes:
        step: when.
        megabytes: of memory that it holds.
        files: that it has open.
    """

    step: int
    megabytes: float
    files: int


def look(step: int) -> Sample:
    """At this process, now, without memory that the C library keeps though it is free."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL('libc.so.6').malloc_trim(0)
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return Sample(step, pages * resource.getpagesize() / 1e6, len(os.listdir('/proc/self/fd')))


def growth_of(samples: Sequence[Sample]) -> float:
    """Growth of memory, as a share, from the first to the last fifth after the warm-up."""
    rest = samples[int(len(samples) * WARM_UP) :]
    fifth = max(len(rest) // 5, 1)
    first, last = (statistics.median(one.megabytes for one in part) for part in (rest[:fifth], rest[-fifth:]))
    return last / first - 1


def more_files(samples: Sequence[Sample]) -> int:
    """Files that are open at the end, and were not after the warm-up."""
    rest = samples[int(len(samples) * WARM_UP) :]
    return rest[-1].files - rest[0].files


# --- Soak


# In MMEngine's registry: it is no part of the package.
@HOOKS.register_module()
class LookHook(Hook):
    """Looks at the process every so many steps, and writes what it sees beside the checkpoints.

    Args:
        interval: in steps.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.samples: list[Sample] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Look."""
        if (runner.iter + 1) % self.interval == 0:
            self.samples.append(look(runner.iter + 1))

    def after_train(self, runner: Any) -> None:
        """Write."""
        write(Path(runner.work_dir) / f'samples_{runner.rank}.json', [asdict(sample) for sample in self.samples])


def write(path: Path, content: Any) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + '\n')


def train(rank: int, processes: int, steps: int, told: Pipe, folder: Path) -> None:
    """Train in this process, with augmented images of varying size, checkpoints and validations."""
    torch.set_num_threads(1)
    config = config_of(Variant('iter', 0, processes), folder)
    every = max(steps // 10, 1)
    config.train_cfg = dict(type='mmdet_dab.ResumableIterLoop', max_iters=steps, val_interval=every)
    config.train_dataloader.batch_size = 2 // processes
    config.merge_from_dict(SMALL)
    config.default_hooks.checkpoint.interval = every
    config.custom_hooks = [
        *(hook for hook in config.custom_hooks if 'StageHook' not in hook['type']),
        dict(type='LookHook', interval=max(steps // SAMPLES, 1)),
    ]
    mmengine_runner.collect_env = dict  # it asks the machine for compilers
    with met(rank, processes, told) as launcher:
        launch.build_runner(config, launcher).train()


def predict(predictions: int, folder: Path) -> None:
    """Predict on drawn images of 81 sizes, one at a time.

    oneDNN keeps what it has made for up to 1,024 shapes: the warm-up must meet them all.
    """
    torch.set_num_threads(1)
    from mmdet.apis import inference_detector

    model = build(str(ROOT / CONFIG))
    draw = np.random.default_rng(0)
    samples = []
    for number in range(1, predictions + 1):
        height, width = 16 * draw.integers(2, 11, size=2)
        inference_detector(model, draw.integers(0, 256, size=(height, width, 3), dtype=np.uint8))
        if number % max(predictions // SAMPLES, 1) == 0:
            samples.append(look(number))
    write(folder / 'samples_0.json', [asdict(sample) for sample in samples])


def forked(works: Sequence[Callable[[], object]], log: Path) -> list[int]:
    """Do each work in a process of its own, at the same time; the exit codes."""
    pids = []
    for work in works:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with log.open('a') as file, redirect_stdout(file), redirect_stderr(file):
                    os.dup2(file.fileno(), 2)
                    code = int(work() or 0)
            except BaseException:
                import traceback

                log.with_suffix('.error').write_text(traceback.format_exc())
            finally:
                os._exit(code)
        pids.append(pid)
    return wait(pids)


#: Parts of a soak: how many processes work, and whether they train.
PARTS = {'one': (1, True), 'two': (2, True), 'predictions': (1, False)}


def soak(steps: int, predictions: int, folder: Path, parts: Sequence[str] = tuple(PARTS)) -> list[dict[str, Any]]:
    """Train and predict; a row for every process."""
    rows = []
    for part in parts:
        processes, trains = PARTS[part]
        at = folder / f'soak_{part}'
        at.mkdir(parents=True)
        told = os.pipe()
        if trains:
            what = f'{steps:,} steps, {part} process{"es" if processes > 1 else ""}'
            works = [partial(train, rank, processes, steps, told, at) for rank in range(processes)]
        else:
            what, works = f'{predictions:,} predictions', [partial(predict, predictions, at)]
        began = time.monotonic()
        codes = forked(works, at / 'output.txt')
        for end in told:
            os.close(end)
        if any(codes):
            raise RuntimeError(f'{what}: exit codes {codes}, see {at}/output.error')
        for rank in range(processes):
            samples = [Sample(**one) for one in json.loads((at / f'samples_{rank}.json').read_text())]
            rows.append(
                dict(
                    what=what,
                    process=rank,
                    seconds=round(time.monotonic() - began),
                    megabytes=round(samples[-1].megabytes),
                    growth=round(growth_of(samples), 4),
                    files=samples[-1].files,
                    more_files=more_files(samples),
                )
            )
            print(row_text(rows[-1]), flush=True)
    return rows


def row_text(row: dict[str, Any]) -> str:
    """A line for the console."""
    return '  '.join(f'{name} {value}' for name, value in row.items())


# --- Sizes


def coco(folder: Path, objects: int, images: int, classes: int, outline: int = 0, per_image: int = 0) -> Path:
    """Write a COCO file of drawn boxes, and no images.

    Args:
        folder: for the file.
        objects: in all.
        images: that share them.
        classes: that share them.
        outline: points of each outline, which fill the file.
        per_image: put so many of the objects on the first image.
    """
    draw = random.Random(0)
    polygon = [round(draw.uniform(0, 640), 2) for _ in range(2 * outline)]
    path = folder / 'all.json'
    with path.open('w') as file:
        content = dict(
            images=[dict(id=n, file_name=f'{n}.jpg', width=640, height=480) for n in range(1, images + 1)],
            categories=[dict(id=n, name=f'class {n}') for n in range(1, classes + 1)],
        )
        file.write(json.dumps(content)[:-1] + ', "annotations": [')
        for number in range(objects):
            x, y = round(draw.uniform(0, 600), 2), round(draw.uniform(0, 440), 2)
            item = dict(
                id=number + 1,
                image_id=1 if number < per_image else number % images + 1,
                category_id=number % classes + 1,
                bbox=[x, y, 30.5, 20.25],
                area=617.625,
                iscrowd=0,
                **(dict(segmentation=[polygon]) if outline else {}),
            )
            file.write((', ' if number else '') + json.dumps(item))
        file.write(']}')
    return path


def draw_images(folder: Path, number: int) -> Path:
    """Write so many small images, all different, into ``images``."""
    images = folder / 'images'
    images.mkdir()
    draw = np.random.default_rng(0)
    for index in range(number):
        # Not noise: writing it would take most of the time.
        image = np.empty((24, 32, 3), np.uint8)
        image[:], image[6:18, 8:20] = draw.integers(0, 256, size=(2, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f'{index:06}.png'), image)
    return images


def check_coco(folder: Path) -> Callable[[], object]:
    """What ``mmdet-dab train`` does with an annotation file before it starts."""

    def work() -> None:
        from mmdet_dab.data.checks.annotations import check_annotations
        from mmdet_dab.data.checks.classes import check_classes
        from mmdet_dab.data.coco import check_usable, read_coco

        data = read_coco(folder / 'all.json')
        check_usable(data, training=True)
        check_annotations(data, training=True)
        check_classes(data, data.names(), training=True)

    return work


def many_annotations(folder: Path, number: int) -> Callable[[], object]:
    """Annotations in one COCO file, 500 bytes each."""
    coco(folder, number, max(number // 10, 1), 80, outline=22)
    return check_coco(folder)


def many_classes(folder: Path, number: int) -> Callable[[], object]:
    """Classes, ten objects each, from the file to the config."""
    draw_images(folder, 20)
    coco(folder, 10 * number, 20, number)
    content = json.loads((folder / 'all.json').read_text())
    for index, image in enumerate(content['images']):
        image.update(file_name=f'{index:06}.png', width=32, height=24)
    for item in content['annotations']:
        item.update(bbox=[item['id'] % 20, item['id'] % 13, 8, 8], area=64)
    (folder / 'all.json').write_text(json.dumps(content))
    return command('new-data', '--images', folder / 'images', '--annotations', folder / 'all.json', folder=folder)


def command(name: str, *arguments: object, folder: Path) -> Callable[[], object]:
    """A command of ours, with what it writes in ``folder``."""
    outputs = {'new-data': ['--out', folder / 'out.py'], 'infer': ['--out-dir', folder / 'out']}[name]
    return lambda: cli.main([name, *map(str, (*arguments, *outputs))])


def many_images_new_data(folder: Path, number: int) -> Callable[[], object]:
    """Images in a folder, with a YOLO file each."""
    images = draw_images(folder, number)
    labels = folder / 'labels'
    labels.mkdir()
    for index in range(number):
        (labels / f'{index:06}.txt').write_text(f'{index % 2} 0.5 0.5 0.5 0.5\n')
    (labels / 'classes.txt').write_text('cup\nplate\n')
    return command('new-data', '--images', images, '--annotations', labels, folder=folder)


def many_images_infer(folder: Path, number: int) -> Callable[[], object]:
    """Images in a folder; boxes above 0.5 are drawn, which random weights have few of."""
    images = draw_images(folder, number)
    model = build(load_config(str(ROOT / CONFIG), SMALL))
    weights = folder / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(model.dataset_meta))), weights)
    small = [f'{key}={value}' for key, value in SMALL.items()]
    options = ('--batch-size', 16, '--score-thr', 0.5, '--cfg-options', *small)
    return command('infer', images, ROOT / CONFIG, weights, *options, folder=folder)


def lines_of_yolo(folder: Path, number: int) -> Callable[[], object]:
    """Lines of one YOLO file, of a thousand classes."""
    draw_images(folder, 1)
    labels = folder / 'labels'
    labels.mkdir()
    (labels / 'classes.txt').write_text(''.join(f'class {index}\n' for index in range(1000)))
    draw = random.Random(0)
    with (labels / '000000.txt').open('w') as file:
        for index in range(number):
            file.write(f'{999 - index % 1000} {draw.uniform(0.2, 0.8):.6f} {draw.uniform(0.2, 0.8):.6f} 0.2 0.3\n')
    return read_and_check('yolo', labels, folder / 'images')


def lines_of_voc(folder: Path, number: int) -> Callable[[], object]:
    """Lines of one VOC file, eight for an object."""
    draw_images(folder, 1)
    labels = folder / 'labels'
    labels.mkdir()
    draw = random.Random(0)
    with (labels / '000000.xml').open('w') as file:
        file.write('<annotation>\n<filename>000000.png</filename>\n')
        file.write('<size><width>32</width><height>24</height></size>\n')
        for index in range(number // 8):
            x, y = draw.uniform(0, 20), draw.uniform(0, 12)
            corners = (('xmin', x), ('ymin', y), ('xmax', x + 8), ('ymax', y + 8))
            lines = ''.join(f'<{key}>{value:.3f}</{key}>\n' for key, value in corners)
            file.write(f'<object>\n<name>class {index % 20}</name><bndbox>\n{lines}</bndbox>\n</object>\n')
        file.write('</annotation>\n')
    return read_and_check('voc', labels, folder / 'images')


def read_and_check(kind: str, labels: Path, images: Path) -> Callable[[], object]:
    """Read a folder of annotations, and check them."""

    def work() -> None:
        from mmdet_dab.data.checks.annotations import check_annotations
        from mmdet_dab.data.formats import read
        from mmdet_dab.data.images import ImageFolder

        check_annotations(read(labels, kind, ImageFolder(images), None, False), training=True)

    return work


def objects_in_an_image(folder: Path, number: int) -> Callable[[], object]:
    """Objects in one image: three steps with denoising, forward and backward."""
    return lambda: steps_with(dict(num_classes=3), number, 3)


def classes_of_a_model(folder: Path, number: int) -> Callable[[], object]:
    """Classes of a detector: three steps with denoising."""
    return lambda: steps_with(dict(num_classes=number), 20, number)


def steps_with(values: dict[str, Any], objects: int, classes: int) -> None:
    """Three steps of the small detector with denoising, on two images of 128 pixels."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = load_config(str(ROOT / 'configs/mix/dn_detr_shapes_5min.py'))
    init_default_scope('mmdet')
    config.model.update(values)
    if 'num_classes' in config.model.query_generator:
        config.model.query_generator.num_classes = values['num_classes']
    model = MODELS.build(config.model)
    samples = []
    for _ in range(2):
        sample = DetDataSample(
            metainfo=dict(img_shape=(128, 128), batch_input_shape=(128, 128), ori_shape=(128, 128), img_id=0)
        )
        corner = torch.rand(objects, 2) * 100
        boxes = torch.cat([corner, corner + 4 + torch.rand(objects, 2) * 20], dim=1)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(classes, (objects,)))
        samples.append(sample)
    for _ in range(3):
        losses = model(torch.rand(2, 3, 128, 128), samples, mode='loss')
        sum(value for value in losses.values() if isinstance(value, torch.Tensor)).backward()


@dataclass(frozen=True)
class Case:
    """Something that there can be a lot of.

    Attributes:
        what: of which there are many.
        number: the greater one of two; the smaller one is half of it.
        prepare: writes what is needed, and gives what is timed.
    """

    what: str
    number: int
    prepare: Callable[[Path, int], Callable[[], object]]


CASES = [
    Case('annotations in a COCO file', 1_000_000, many_annotations),
    Case('lines in a YOLO file', 1_000_000, lines_of_yolo),
    Case('lines in a VOC file', 1_000_000, lines_of_voc),
    Case('images, new-data', 10_000, many_images_new_data),
    Case('images, infer', 10_000, many_images_infer),
    Case('classes, new-data', 1_000, many_classes),
    Case('classes, three steps', 1_000, classes_of_a_model),
    Case('objects in an image, three steps', 2_000, objects_in_an_image),
]


def measure(case: Case, number: int, folder: Path) -> dict[str, Any]:
    """Time, memory and files that stay open of a case, in a process of its own."""
    at = folder / f'{case.prepare.__name__}_{number}'
    at.mkdir(parents=True)
    file = at / 'measured.json'

    def work() -> int:
        timed = case.prepare(at, number)
        # What keeps a file of each image open, if only until the end, meets this limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        before = look(0)
        began, cpu = time.monotonic(), time.process_time()
        code = int(timed() or 0)  # type: ignore[call-overload]
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        largest = max((path.stat().st_size for path in at.rglob('*') if path.is_file()), default=0) / 1e6
        write(
            file,
            dict(
                what=case.what,
                number=number,
                seconds=round(seconds, 2),
                cpu_seconds=round(cpu, 2),
                before_mb=round(before.megabytes),
                peak_mb=round(peak),
                largest_file_mb=round(largest, 1),
                more_files=look(1).files - before.files,
            ),
        )
        return code

    codes = forked([work], at / 'output.txt')
    if any(codes):
        raise RuntimeError(f'{case.what}: exit code {codes[0]}, see {at}')
    measured = json.loads(file.read_text())
    shutil.rmtree(at)
    return measured


def sizes(share: float, names: Sequence[str] | None, folder: Path) -> list[dict[str, Any]]:
    """Every case with half of its number and with all of it.

    Args:
        share: of the numbers, to try the command.
        names: of functions that prepare; None: all.
        folder: for what is written.
    """
    rows = []
    for case in CASES:
        if names is not None and case.prepare.__name__ not in names:
            continue
        number = max(int(case.number * share), 8)
        pair = [measure(case, one, folder) for one in (number // 2, number)]
        for row in pair:
            row['ratio'] = round(pair[1]['cpu_seconds'] / max(pair[0]['cpu_seconds'], 0.01), 2)
            print(row_text(row), flush=True)
        rows += pair
    return rows


def save(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, in place of those of the same kind; a long run can be made in parts."""
    new = {row['what'] for row in rows}
    old = json.loads(path.read_text()) if path.is_file() else []
    write(path, [*(row for row in old if row['what'] not in new), *rows])


def main() -> int:
    """Run; the exit code of a soak is 1 where something grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['soak', 'sizes'])
    parser.add_argument('--steps', type=int, default=5000)
    parser.add_argument('--predictions', type=int, default=2000)
    parser.add_argument('--share', type=float, default=1.0, help='of the numbers of sizes, to try it')
    names = [*PARTS, *(case.prepare.__name__ for case in CASES)]
    parser.add_argument('--only', nargs='+', choices=names, metavar='NAME', help=', '.join(names))
    parser.add_argument('--save', action='store_true', help=f'write to {RESULTS.relative_to(ROOT)}')
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix='load-'))
    if args.what == 'soak':
        rows = soak(args.steps, args.predictions, folder, args.only or tuple(PARTS))
    else:
        rows = sizes(args.share, args.only, folder)
    if args.save:
        save(RESULTS / f'{args.what}.json', rows)
    shutil.rmtree(folder)
    grows = [row for row in rows if row.get('growth', 0) > ALLOWED or row.get('more_files', 0) > 0]
    for row in grows:
        print(f'grows: {row_text(row)}')
    return int(bool(grows))


if __name__ == '__main__':
    sys.exit(cli.run(main))
