"""The runtimes that execute an exported file: one class for each kind of file, all of one form.

A backend runs batches and gives the file's metadata.
"""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from mmdet_dab.deploy.metadata import KEY, Metadata
from mmdet_dab.deploy.reports import without_reports
from mmdet_dab.errors import UserError

Detections = tuple[np.ndarray, np.ndarray, np.ndarray]


class Backend(Protocol):
    """What executes an exported file.

    Attributes:
        metadata: what the file says of itself.
    """

    metadata: Metadata

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """(B, 3, H, W) and (B, 2) -> scores (B, K), labels (B, K), boxes (B, K, 4) in parts of the
        image."""


def need(module: str, extra: str) -> None:
    """Refuse to go on without a package.

    Raises:
        UserError: names the pip line.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{module} is not installed: pip install 'mmdet_dab[{extra}]'")


class OnnxBackend:
    """ONNX Runtime on the CPU.

    Args:
        path: a ``.onnx`` file.
        threads: of one run; None: all cores.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        need('onnxruntime', 'runtime')
        import onnxruntime

        refuse_weights_elsewhere(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            # Else a damaged file is loaded once more, and both failures are printed.
            only = dict(providers=['CPUExecutionProvider'], enable_fallback=0)
            self.session = onnxruntime.InferenceSession(str(path), options, **only)
        except Exception as error:  # onnxruntime's errors share no base class
            raise UserError(f'{path}: not an ONNX file, or a damaged one ({reason(error)}).') from error
        self.metadata = Metadata.from_json(self.session.get_modelmeta().custom_metadata_map.get(KEY), str(path))

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """See :class:`Backend`."""
        scores, labels, boxes = self.session.run(
            ['scores', 'labels', 'boxes'], {'images': images, 'valid_sizes': valid_sizes}
        )
        return scores, labels, boxes


def refuse_weights_elsewhere(path: Path) -> None:
    """Refuse an ONNX file that names other files to read its weights from, which `export` does not
    write. Before onnxruntime 1.24, such a name may lead out of the folder.

    Raises:
        UserError: it does, or cannot be opened.
    """
    if path.stat().st_size == 0:
        raise UserError(f'{path}: the file is empty. Export it anew.')
    try:
        with path.open('rb') as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            # The key of the name, behind its length. The last byte of that is 8, or 0 where it is
            # written longer than need be; in a text such as the metadata it is neither.
            place = content.find(b'location')
            while place != -1:
                if content[place - 1] in (0, 8):
                    raise UserError(f'{path}: its weights are in other files, which are not read. Export it anew.')
                place = content.find(b'location', place + 1)
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}).') from error


def refuse_other_formats(path: Path) -> None:
    """Refuse an ``.xml`` file that is no graph of OpenVINO, which goes by the content, not by the
    ending: it would read an ONNX file, and try TensorFlow's and four other formats, which print
    what they miss.

    Raises:
        UserError: it is none, or cannot be opened.
    """
    try:
        with path.open('rb') as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}).') from error
    if not start.startswith((b'<?xml', b'<net')) or b'<net' not in start:
        raise UserError(f'{path}: not an OpenVINO file, or a damaged one (it does not begin as one). Export it anew.')


class OpenVINOBackend:
    """OpenVINO on the CPU.

    Sizes that are known when a graph is compiled make it faster: masks and the positions of cells
    are constants then. Batches without padding get such a graph: where all images are resized to
    one size at once, elsewhere when a size has come :data:`OFTEN` times.

    Args:
        path: a ``.xml`` file with its ``.bin`` beside it.
        threads: of one run; None: all cores.
    """

    #: Batches of one size after which compiling for it (seconds) pays.
    OFTEN = 16
    #: Graphs for fixed sizes that are kept.
    GRAPHS = 4

    def __init__(self, path: Path, threads: int | None = None) -> None:
        need('openvino', 'openvino')
        with without_reports():
            import openvino

        refuse_other_formats(path)
        if not path.with_suffix('.bin').is_file():
            raise UserError(f'{path}: {path.with_suffix(".bin").name}, which holds the weights, is not beside it.')
        self.openvino = openvino
        self.seen: Counter[tuple[int, ...]] = Counter()
        self.fixed: dict[tuple[int, ...], Any] = {}
        try:
            core = openvino.Core()
            self.model = core.read_model(path)
            found = self.model.get_rt_info([KEY]).astype(str) if self.model.has_rt_info([KEY]) else None
            self.metadata = Metadata.from_json(found, str(path))
            self.settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
            half = 'BF16' in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
            if half and self.metadata.precision.endswith('bfloat16'):
                self.settings['INFERENCE_PRECISION_HINT'] = 'bf16'
            if threads is not None:
                self.settings['INFERENCE_NUM_THREADS'] = threads
            if self.metadata.resize == 'stretch':
                self.fixed_graph((1, 3, self.metadata.scale[1], self.metadata.scale[0]))
            else:
                self.any_size  # noqa: B018  (a damaged file is found now)
        except RuntimeError as error:
            raise UserError(f'{path}: not an OpenVINO file, or a damaged one ({reason(error)}).') from error

    @cached_property
    def any_size(self) -> Any:
        """The graph for any batch, size and padding."""
        return self.openvino.compile_model(self.model, 'CPU', self.settings)

    def fixed_graph(self, shape: tuple[int, ...]) -> Any:
        """The graph for images of one shape without padding."""
        if shape not in self.fixed:
            if len(self.fixed) == self.GRAPHS:
                self.fixed.pop(next(iter(self.fixed)))
            model = self.model.clone()
            model.reshape({'images': shape, 'valid_sizes': (shape[0], 2)})
            sizes = np.array([shape[2:]] * shape[0], dtype=np.int64)
            constant = self.openvino.opset13.constant(sizes)
            given = next(each for each in model.get_parameters() if 'valid_sizes' in each.output(0).get_names())
            for target in given.output(0).get_target_inputs():
                target.replace_source_output(constant.output(0))
            model.remove_parameter(given)
            self.fixed[shape] = self.openvino.compile_model(model, 'CPU', self.settings)
        return self.fixed[shape]

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """See :class:`Backend`."""
        shape = images.shape
        self.seen[shape] += 1
        whole = bool((valid_sizes == shape[2:]).all())
        if whole and (self.metadata.resize == 'stretch' or self.seen[shape] > self.OFTEN):
            found = self.fixed_graph(shape)({'images': images})
        else:
            found = self.any_size({'images': images, 'valid_sizes': valid_sizes})
        return found['scores'], found['labels'], found['boxes']


class TorchBackend:
    """A program of ``torch.export``; needs torch, but neither mmdet nor the code of the detector.

    Args:
        path: a ``.pt2`` file.
        threads: of one run; None: all cores.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        need('torch', 'export')
        import torch

        self.torch = torch
        if threads is not None:
            torch.set_num_threads(threads)
        extra = {KEY: ''}
        try:
            with silent('torch.export'):
                self.program = torch.export.load(path, extra_files=extra).module()
        except Exception as error:  # a damaged file may fail anywhere
            raise UserError(f'{path}: not a file of torch.export, or a damaged one ({reason(error)}).') from error
        self.metadata = Metadata.from_json(extra[KEY], str(path))

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """See :class:`Backend`."""
        with self.torch.inference_mode():
            found = self.program(self.torch.from_numpy(images), self.torch.from_numpy(valid_sizes))
        scores, labels, boxes = (part.numpy() for part in found)
        return scores, labels, boxes


@contextmanager
def silent(logger: str) -> Iterator[None]:
    """Without the traceback that a library logs before it raises its error."""
    log = logging.getLogger(logger)
    log.disabled, before = True, log.disabled
    try:
        yield
    finally:
        log.disabled = before


def reason(error: Exception) -> str:
    """What the error of a runtime says first, without an end of sentence; OpenVINO says before it
    where in its code that is."""
    lines = (line.strip() for line in str(error).splitlines())
    said = (line for line in lines if line and not line.startswith(('Exception from ', "Check '")))
    return next(said, type(error).__name__).rstrip('.')


#: Endings of files -> what runs them.
BACKENDS: Mapping[str, Any] = MappingProxyType({'.onnx': OnnxBackend, '.xml': OpenVINOBackend, '.pt2': TorchBackend})


#: Formats whose loader unpickles and evaluates what stands in the file.
PROGRAMS = ('.pt2',)


def load_backend(path: str | Path, threads: int | None = None, *, trusted: bool = False) -> Backend:
    """The backend for an exported file.

    Args:
        path: the file.
        threads: of one run; None: all cores.
        trusted: whether a file of :data:`PROGRAMS` may be loaded. The others are data: loading them
            runs no code of theirs.

    Raises:
        UserError: there is no such file, no runtime for its ending, it cannot be read, or is not
            trusted.
    """
    path = Path(path)
    if path.suffix not in BACKENDS:
        raise UserError(f'{path}: an exported detector ends in {", ".join(BACKENDS)}.')
    if not path.is_file():
        raise UserError(f'{path}: a folder, not a file.' if path.is_dir() else f'{path}: no such file.')
    if path.suffix in PROGRAMS and not trusted:
        raise UserError(
            f'{path}: torch runs code that a {path.suffix} file carries. If you made it, say so: --trust, or '
            'Predictor(…, trusted=True). An .onnx file is data.'
        )
    return BACKENDS[path.suffix](path, threads)
