"""The runtimes that execute an exported file: one class for each kind of file, all of one form.

A backend runs batches and gives the file's metadata. None of them unpickles anything.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from mmdet_dab.deploy.metadata import KEY, Metadata
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

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # onnxruntime's errors share no base class
            raise UserError(f'{path}: not an ONNX file, or a damaged one ({_first_line(error)}).') from error
        self.metadata = Metadata.from_json(self.session.get_modelmeta().custom_metadata_map.get(KEY), str(path))

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """See :class:`Backend`."""
        scores, labels, boxes = self.session.run(
            ['scores', 'labels', 'boxes'], {'images': images, 'valid_sizes': valid_sizes}
        )
        return scores, labels, boxes


class OpenVINOBackend:
    """OpenVINO on the CPU.

    Args:
        path: a ``.xml`` file with its ``.bin`` beside it.
        threads: of one run; None: all cores.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        need('openvino', 'openvino')
        import openvino

        settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
        if threads is not None:
            settings['INFERENCE_NUM_THREADS'] = threads
        if not path.with_suffix('.bin').is_file():
            raise UserError(f'{path}: {path.with_suffix(".bin").name}, which holds the weights, is not beside it.')
        try:
            model = openvino.Core().read_model(path)
            found = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
            self.metadata = Metadata.from_json(found, str(path))
            if self.metadata.precision == 'bfloat16':
                settings['INFERENCE_PRECISION_HINT'] = 'bf16'
            self.compiled = openvino.compile_model(model, 'CPU', settings)
        except RuntimeError as error:
            raise UserError(f'{path}: not an OpenVINO file, or a damaged one ({_first_line(error)}).') from error

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """See :class:`Backend`."""
        found = self.compiled({'images': images, 'valid_sizes': valid_sizes})
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
            self.program = torch.export.load(path, extra_files=extra).module()
        except Exception as error:  # a damaged file may fail anywhere
            raise UserError(f'{path}: not a file of torch.export, or a damaged one ({_first_line(error)}).') from error
        self.metadata = Metadata.from_json(extra[KEY], str(path))

    def run(self, images: np.ndarray, valid_sizes: np.ndarray) -> Detections:
        """See :class:`Backend`."""
        with self.torch.inference_mode():
            found = self.program(self.torch.from_numpy(images), self.torch.from_numpy(valid_sizes))
        scores, labels, boxes = (part.numpy() for part in found)
        return scores, labels, boxes


def _first_line(error: Exception) -> str:
    """What an error says first, without an end of sentence."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip('.')


#: Endings of files -> what runs them.
BACKENDS: Mapping[str, Any] = MappingProxyType({'.onnx': OnnxBackend, '.xml': OpenVINOBackend, '.pt2': TorchBackend})


def load_backend(path: str | Path, threads: int | None = None) -> Backend:
    """The backend for an exported file.

    Raises:
        UserError: there is no such file, no runtime for its ending, or it cannot be read.
    """
    path = Path(path)
    if path.suffix not in BACKENDS:
        raise UserError(f'{path}: an exported detector ends in {", ".join(BACKENDS)}.')
    if not path.is_file():
        raise UserError(f'{path}: no such file.')
    return BACKENDS[path.suffix](path, threads)
