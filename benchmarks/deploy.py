"""What ships beside what was trained: speed, AP, size and start-up of every form of a detector.

``python -m benchmarks.deploy`` exports the detector, makes it int8, and times all forms in turn,
each in a process of its own (``benchmarks.side_by_side``). Its steps can be run one by one, so that
only the timed ones need a machine without other work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import MMLogger
from torch import nn

from benchmarks import peers, side_by_side
from benchmarks.side_by_side import Candidate, Measurement
from mmdet_dab.deploy.int8.parts import EVERY
from mmdet_dab.errors import UserError

FOLDER = side_by_side.RESULTS / 'deploy'
PAGE = side_by_side.ROOT / 'docs' / 'exported_speed.md'
#: The best of these many products of matrices is a rate of the machine.
PRODUCTS, MATRIX = 15, 2048
#: What is done, one after the other; each keeps what it found in the folder of its case.
STEPS = ('files', 'ap', 'times', 'starts', 'table')


@dataclass(frozen=True)
class Case:
    """A detector and a size of image.

    Attributes:
        name: of the table.
        config: of the detector.
        checkpoint: trained weights; None: random ones, and no AP.
        size: (height, width) of the image.
        rounds: how many for each that is asked for; short predictions need more.
        steps: predictions in a row, of which the last is timed.
    """

    name: str
    config: str
    checkpoint: Path | None
    size: tuple[int, int]
    rounds: int = 1
    steps: int = 2

    @property
    def mmdets(self) -> bool:
        """Whether mmdet has the same detector, and deployed ones are of its size."""
        return self.name == 'deploy-r50'

    @property
    def folder(self) -> Path:
        """Of the exported files, and of what each step found."""
        return FOLDER / self.name

    def keep(self, step: str, found: Any) -> None:
        """What a step found, for the steps after it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f'{step}.json').write_text(json.dumps(found))

    def kept(self, step: str) -> Any:
        """What a step found, or {} if it was not run."""
        path = self.folder / f'{step}.json'
        return json.loads(path.read_text()) if path.is_file() else {}


@dataclass(frozen=True)
class Form:
    """One form of a detector.

    Attributes:
        runtime: what runs it.
        precision: float32, bfloat16 or int8.
        candidate: for :func:`benchmarks.side_by_side.measure`.
        file: exported; None for the checkpoint itself.
        dtype: of ``optimize_for_inference``; None: as it is.
        operations: multiply-adds by precision.
    """

    runtime: str
    precision: str
    candidate: Candidate
    operations: Counter[str]
    file: Path | None = None
    dtype: str | None = None

    @property
    def name(self) -> str:
        return f'{self.runtime}, {self.precision}'


# --- The forms


def load(case: Case) -> nn.Module:
    """The detector of a case."""
    if case.mmdets:
        return peers.ours('r50').eval()
    from mmdet_dab.config import build, load_config

    torch.manual_seed(0)
    model = build(load_config(case.config, {}), case.checkpoint).eval()
    if case.checkpoint is None:
        model.init_weights()
    return model


def predict(case: Case, dtype: str | None) -> Any:
    """Prediction by the checkpoint."""
    from mmdet.structures import DetDataSample

    model = load(case)
    if dtype is not None:
        from mmdet_dab.optimize import optimize_for_inference

        optimize_for_inference(model, getattr(torch, dtype))
    images = torch.from_numpy(inputs(case.size)['images'])
    meta = dict(img_shape=case.size, ori_shape=case.size, batch_input_shape=case.size, scale_factor=(1.0, 1.0))

    @torch.inference_mode()
    def step() -> None:
        model(images, [DetDataSample(metainfo=meta)], mode='predict')

    return step, lambda: None


def run_file(file: Path, size: tuple[int, int], threads: int) -> Any:
    """Prediction by an exported file, as the runtime runs it after many images of one size."""
    from mmdet_dab.deploy.backends import OpenVINOBackend, load_backend

    backend, given = load_backend(file, threads), inputs(size)
    if isinstance(backend, OpenVINOBackend):
        backend.seen[given['images'].shape] = backend.OFTEN
    return partial(backend.run, **given), lambda: None


def inputs(size: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    """A random image, normalised already, without padding."""
    images = np.random.default_rng(seed).standard_normal((1, 3, *size), dtype=np.float32)
    return dict(images=images, valid_sizes=np.array([size], dtype=np.int64))


def write_files(case: Case, calibrate: int) -> None:
    """Export a detector to every format and precision."""
    from mmdet_dab.config import load_config
    from mmdet_dab.deploy.exporter import Request, export, onnx_to_openvino
    from mmdet_dab.deploy.metadata import write_metadata

    shutil.rmtree(case.folder, ignore_errors=True)
    onnx, xml = (case.folder / 'float32' / f'model{ending}' for ending in ('.onnx', '.xml'))
    onnx.parent.mkdir(parents=True)
    export(Request(load_config(case.config, {}), case.checkpoint or random_weights(case), onnx))
    onnx_to_openvino(onnx, xml, metadata_of(onnx))
    half = copied(xml, case.folder / 'bfloat16')
    write_metadata(half, replace(metadata_of(half), precision='bfloat16'))
    for file in (onnx, xml):
        write_int8(case, file, case.folder / 'int8', calibrate)


def files_of(case: Case) -> dict[str, Path]:
    """What was exported, by name of the form."""
    runtimes = {'.onnx': 'ONNX Runtime', '.xml': 'OpenVINO'}
    found = {}
    for precision in ('float32', 'bfloat16', 'int8'):
        for ending, runtime in runtimes.items():
            file = case.folder / precision / f'model{ending}'
            if file.is_file():
                found[f'{runtime}, {precision}'] = file
    if not found:
        raise SystemExit(f'error: {case.folder} has no exported files: run the step `files` first')
    return found


def write_int8(case: Case, file: Path, folder: Path, calibrate: int) -> None:
    """The file in int8: the parts are chosen by AP if there are trained weights, else all of them;
    none where int8 does not keep AP."""
    from mmdet_dab.config import load_config
    from mmdet_dab.deploy import int8
    from mmdet_dab.deploy.int8.quantizers import QUANTIZERS
    from mmdet_dab.deploy.metadata import write_metadata

    small = copied(file, folder)
    if case.checkpoint is not None:
        try:
            int8.quantize(load_config(case.config, {}), small, calibrate)
        except UserError as error:
            print(f'left out: {error}')
            for part in parts_of(small):
                part.unlink()
        return
    QUANTIZERS[file.suffix](file, small, EVERY, [inputs(case.size, seed) for seed in range(4)])
    rest = 'bfloat16' if file.suffix == '.xml' else 'float32'
    write_metadata(small, replace(metadata_of(file), precision=f'int8+{rest}'))


def metadata_of(file: Path) -> Any:
    """What an exported file says of itself."""
    from mmdet_dab.deploy.backends import load_backend

    return load_backend(file).metadata


def copied(file: Path, folder: Path) -> Path:
    """An exported file, with its weights, in another folder."""
    folder.mkdir(exist_ok=True)
    for part in parts_of(file):
        (folder / part.name).write_bytes(part.read_bytes())
    return folder / file.name


def parts_of(file: Path) -> list[Path]:
    """The file, and of OpenVINO the weights beside it."""
    return [file, file.with_suffix('.bin')] if file.suffix == '.xml' else [file]


def random_weights(case: Case) -> Path:
    """A checkpoint of random weights."""
    from mmdet_dab.config import load_config
    from mmdet_dab.registry import DATASETS

    data = load_config(case.config, {}).test_dataloader.dataset
    classes = (data.get('metainfo') or {}).get('classes') or DATASETS.get(data.type).METAINFO['classes']
    path = case.folder / 'random.pth'
    torch.save(dict(state_dict=load(case).state_dict(), meta=dict(dataset_meta=dict(classes=classes))), path)
    return path


def forms(case: Case, threads: int) -> list[Form]:
    """The forms of the detector of a case, and mmdet's where it has the same."""
    operations = by_part(load(case), case.size)
    total = sum(operations.values())
    found = []
    if case.mmdets:
        scene = peers.Scene(1, case.size)
        eager = peers.candidate(peers.predict, 'mmdet', 'r50', scene, None)
        found.append(Form('mmdet, eager', 'float32', eager, Counter(float32=total)))
    for title, dtype in (('ours, eager', None), ('ours, optimised', 'float32'), ('ours, optimised', 'bfloat16')):
        precision = dtype or 'float32'
        found.append(Form(title, precision, partial(predict, case, dtype), Counter({precision: total}), dtype=dtype))
    for name, file in files_of(case).items():
        runtime, precision = name.split(', ')
        mixed = Counter({precision: total})
        if precision == 'int8':
            metadata = metadata_of(file)
            parts = set(metadata.int8_trials[-1].int8_parts if metadata.int8_trials else EVERY)
            small = sum(number for part, number in operations.items() if part in parts)
            mixed = Counter({'int8': small, metadata.precision.split('+')[-1]: total - small})
        found.append(Form(runtime, precision, partial(run_file, file, case.size, threads), mixed, file))
    return found


def by_part(model: nn.Module, size: tuple[int, int]) -> Counter[str]:
    """Multiply-adds of each part of a detector."""
    from mmdet_dab.analysis.complexity import count

    counts, parts = count(model, {size: 1}), Counter()
    for name, number in (counts.weights + counts.attention).items():
        parts[name.split('.')[0]] += number
    return parts


# --- A peer that people deploy


def rt_detr() -> nn.Module:
    """RT-DETR with a ResNet-50, random weights, by transformers."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection

    torch.manual_seed(0)
    return RTDetrForObjectDetection(RTDetrConfig()).eval()


class RTDETRProgram(nn.Module):
    """Images -> logits and boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = rt_detr()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.model(pixel_values=images)
        return output.logits, output.pred_boxes


def predict_rt_detr(size: tuple[int, int]) -> Any:
    """Prediction by transformers."""
    model, images = RTDETRProgram().eval(), torch.from_numpy(inputs(size)['images'])

    @torch.inference_mode()
    def step() -> None:
        model(images)

    return step, lambda: None


def run_rt_detr(file: Path, size: tuple[int, int], precision: str, threads: int) -> Any:
    """Prediction by OpenVINO, at a fixed size."""
    import openvino

    hint = {'float32': 'f32', 'bfloat16': 'bf16'}[precision]
    settings = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': hint, 'INFERENCE_NUM_THREADS': threads}
    compiled = openvino.compile_model(openvino.Core().read_model(file), 'CPU', settings)
    given = [inputs(size)['images']]
    return lambda: compiled(given), lambda: None


def peer_forms(threads: int, size: tuple[int, int] = (640, 640)) -> list[Form]:
    """RT-DETR at the size that it is deployed with."""
    from mmdet_dab.analysis.complexity import ProductCounter

    program, images = RTDETRProgram().eval(), torch.zeros(1, 3, *size)
    with torch.no_grad(), ProductCounter(program) as counter:
        program(images)
    total = sum(counter.weights.values()) + sum(counter.attention.values())
    file = FOLDER / 'rt_detr.onnx'
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            torch.onnx.export(program, (images,), file, dynamo=True, external_data=False, verbose=False)
    title = f'RT-DETR R50 {size[0]}×{size[1]}'
    found = [Form(f'{title}, eager', 'float32', partial(predict_rt_detr, size), Counter(float32=total))]
    for precision in ('float32', 'bfloat16'):
        candidate = partial(run_rt_detr, file, size, precision, threads)
        found.append(Form(f'{title}, OpenVINO', precision, candidate, Counter({precision: total}), file))
    return found


# --- What is measured besides time


def rates(threads: int) -> dict[str, float]:
    """G operations a second of the product of two matrices, two for each multiply-add, by
    precision."""
    torch.set_num_threads(threads)
    a = torch.randn(MATRIX, MATRIX)
    small = torch.randint(-127, 127, (MATRIX, MATRIX), dtype=torch.int8)
    half = a.bfloat16()
    products: dict[str, Callable[[], Any]] = {
        'float32': lambda: a @ a,
        'bfloat16': lambda: half @ half,
        'int8': lambda: torch._int_mm(small, small),
    }
    return {name: 2 * MATRIX**3 / least(product) / 1e9 for name, product in products.items()}


def least(action: Callable[[], Any]) -> float:
    """Seconds that an action takes at best."""
    seconds = []
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


STARTS = {
    True: 'from mmdet_dab.deploy import Predictor; Predictor({file!r}, threads={threads})(image)',
    False: (
        'import mmdet_dab; from mmdet.apis import inference_detector\n'
        'inference_detector(mmdet_dab.build({config!r}, {checkpoint!r}), image)'
    ),
}


def start_up(case: Case, form: Form, threads: int, times: int = 3) -> float | None:
    """Seconds of a fresh process until its first prediction, the median; None where it makes no
    sense: without a checkpoint of ours."""
    if form.file is None and (case.checkpoint is None or form.dtype is not None):
        return None
    values = dict(file=str(form.file), threads=threads, config=case.config, checkpoint=str(case.checkpoint))
    image = f'import numpy; image = numpy.zeros(({case.size[0]}, {case.size[1]}, 3), numpy.uint8)\n'
    code = image + STARTS[form.file is not None].format(**values)
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, env=environment)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def precision_of(case: Case, found: Iterable[Form]) -> dict[str, float]:
    """AP of each form on the validation images; none without trained weights."""
    if case.checkpoint is None:
        return {}
    from mmdet_dab.config import load_config
    from mmdet_dab.deploy.int8.data import Yardstick
    from mmdet_dab.optimize import optimize_for_inference

    measure, values = Yardstick(load_config(case.config, {})), {}
    for form in found:
        if form.file is not None:
            values[form.name] = measure(form.file)
            continue
        model = load(case)
        if form.dtype is not None:
            optimize_for_inference(model, getattr(torch, form.dtype))
        values[form.name] = measure.of(model)
    return values


# --- The table


def floor(form: Form, rate: dict[str, float]) -> float:
    """Seconds that the multiply-adds take at the rates of matrix products."""
    return sum(2 * number / rate[precision] / 1e9 for precision, number in form.operations.items())


def row(form: Form, result: Measurement, base: Measurement, extra: dict[str, Any], rate: dict[str, float]) -> tuple:
    """A line of the table."""
    size = sum(part.stat().st_size for part in parts_of(form.file)) / 1e6 if form.file else None
    start, metric = extra['start'].get(form.name), extra['ap'].get(form.name)
    ms = 1000 * result.median
    return (
        form.name,
        f'{ms:.1f}',
        f'{1000 * min(result.seconds):.1f} – {1000 * max(result.seconds):.1f}',
        f'{base.median / result.median:.2f} ×',
        f'{1000 * statistics.median(result.processor):.1f}',
        f'{floor(form, rate) / result.median:.0%}',
        f'{ms / sum(form.operations.values()) * 1e9:.2f}',
        '—' if metric is None else f'{metric:.3f}',
        '—' if size is None else f'{size:.1f}',
        '—' if start is None else f'{start:.1f}',
    )


def header(case: Case, base: str) -> tuple[str, ...]:
    return (
        f'{case.name}, {case.size[0]}×{case.size[1]}',
        'ms',
        'least – greatest',
        f'faster than {base}',
        'processor ms',
        'of the matrix rate',
        'ms per G multiply-adds',
        'AP',
        'file, MB',
        'start-up, s',
    )


def all_forms(case: Case, threads: int) -> dict[str, Form]:
    """Everything that is timed of a case, by name."""
    found = [*forms(case, threads), *(peer_forms(threads) if case.mmdets else [])]
    return {form.name: form for form in found}


def time_forms(case: Case, rounds: int, threads: int) -> None:
    """The step ``times``: matrix rates before and after the rounds, too."""
    before = rates(threads)
    candidates = {name: form.candidate for name, form in all_forms(case, threads).items()}
    results = side_by_side.measure(candidates, rounds, threads, steps=case.steps)
    after = rates(threads)
    about = (
        f'{side_by_side.machine(threads)}, onnxruntime {side_by_side.installed("onnxruntime")}, openvino '
        f'{side_by_side.installed("openvino")}, nncf {side_by_side.installed("nncf")}; {rounds} rounds, load '
        f'{os.getloadavg()[0]:.1f}'
    )
    best = {name: max(before[name], after[name]) for name in before}
    case.keep('times', dict(about=about, rates=best, results=[vars(result) for result in results]))


def make_table(case: Case, args: argparse.Namespace) -> None:
    """The step ``table``: into the page and a file."""
    times = case.kept('times')
    if not times:
        raise SystemExit(f'error: {case.folder} has no times: run the step `times` first')
    found = all_forms(case, args.threads)
    extra, results = dict(ap=case.kept('ap'), start=case.kept('starts')), times['results']
    results = [Measurement(**result) for result in results]
    rows = [row(found[result.name], result, results[0], extra, times['rates']) for result in results]
    said = ', '.join(f'{name} {value:.0f}' for name, value in times['rates'].items())
    about = f'{times["about"]}. Matrix products in G operations a second: {said}.'
    text = f'{side_by_side.table(header(case, found[results[0].name].runtime), rows)}\n\n{about}'
    side_by_side.keep(case.name, text, {**times, **extra}, args.publish, PAGE)


def measure(case: Case, args: argparse.Namespace) -> None:
    """The steps that are asked for."""
    for step in (step for step in STEPS if step in args.steps):
        if step == 'files':
            write_files(case, args.calibrate)
        elif step == 'ap':
            case.keep(step, precision_of(case, forms(case, args.threads)))
        elif step == 'times':
            time_forms(case, args.rounds * case.rounds, args.threads)
        elif step == 'starts':
            seconds = {form.name: start_up(case, form, args.threads) for form in forms(case, args.threads)}
            case.keep(step, {name: value for name, value in seconds.items() if value is not None})
        else:
            make_table(case, args)


def cases(args: argparse.Namespace) -> list[Case]:
    """What the arguments ask for."""
    config, *checkpoint = args.small
    trained = Path(checkpoint[0]) if checkpoint else None
    known = {
        'small': Case('deploy-small', config, trained, (192, 256), 10, 5),
        'r50': Case('deploy-r50', 'dab_detr_r50_50e', None, (800, 1066)),
    }
    return [known[args.only]] if args.only else list(known.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', choices=['small', 'r50'])
    parser.add_argument(
        '--small',
        nargs='+',
        default=['custom/bccd_r18_c4_55e'],
        metavar='CONFIG [CHECKPOINT]',
        help='the small model, of images of 256×192; its AP if there is a checkpoint',
    )
    parser.add_argument('--calibrate', type=int, default=200, help='images that int8 is calibrated on')
    parser.add_argument(
        '--steps',
        nargs='+',
        choices=STEPS,
        default=STEPS,
        help='run these steps only; `times` and `starts` need a machine without other work',
    )
    side_by_side.add_arguments(parser, rounds=5)
    args = parser.parse_args()
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')  # in the processes that are timed
    MMLogger.get_current_instance().setLevel('WARNING')
    if len(args.small) > 2:
        parser.error(f'--small: a config and at most one checkpoint, but got {" ".join(args.small)}')
    for case in cases(args):
        measure(case, args)


if __name__ == '__main__':
    main()
