"""From a config and a checkpoint to one file that runs without them: any batch, any size and
padding.

The file is compared with the detector before it gets its name: one that differs is not left behind.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.config import Config
from torch import Tensor, nn

from mmdet_dab.config import build
from mmdet_dab.deploy.backends import load_backend, need
from mmdet_dab.deploy.int8 import parts
from mmdet_dab.deploy.metadata import KEY, Metadata
from mmdet_dab.deploy.program import DetectionProgram, padding_of
from mmdet_dab.deploy.reports import without_reports
from mmdet_dab.deploy.verify import Detections, Difference, batches, difference
from mmdet_dab.errors import ConfigError, UserError
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.version import __version__

#: Endings of files -> precisions that the runtime has on a CPU.
PRECISIONS = {
    '.onnx': ('float32',),
    '.xml': ('float32', 'float16', 'bfloat16'),
    '.pt2': ('float32',),
}
#: Largest differences of a score, and of a box in parts of the image, of a float32 file.
TOLERANCE = 1e-5
OPSET = 18


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        config: of the detector.
        checkpoint: its weights; None exports random ones, to try the way.
        out: file to write; its ending chooses the format.
        input: ``'float32'``: normalised images; ``'uint8'``: the file normalises.
        precision: see :data:`PRECISIONS`.
        threshold: score from which on a prediction is shown.
    """

    config: Config
    checkpoint: Path | None
    out: Path
    input: str = 'float32'
    precision: str = 'float32'
    threshold: float = 0.3


class UnnormalisedProgram(nn.Module):
    """A program that takes images as they are resized, (B, 3, H, W) uint8, and normalises them.

    Args:
        program: takes normalised images.
        mean, std: of its channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, program: DetectionProgram, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.program = program
        self.register_buffer('mean', torch.tensor(mean)[:, None, None])
        self.register_buffer('std', torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor, valid_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :class:`DetectionProgram`; what the padding holds makes no difference."""
        padding = padding_of(valid_sizes, images.size(2), images.size(3))
        normalised = (images.float() - self.mean) / self.std
        return self.program(normalised.masked_fill(padding[:, None], 0), valid_sizes)


def check(request: Request) -> None:
    """Refuse a request before work starts.

    Raises:
        UserError: unknown format or precision, a missing package, or no folder to write to.
    """
    precisions = PRECISIONS.get(request.out.suffix)
    if precisions is None:
        raise UserError(f'--out {request.out}: the ending must be one of {", ".join(PRECISIONS)}.')
    if request.precision not in precisions:
        raise UserError(f'--precision {request.precision}: for {request.out.suffix} it is {" or ".join(precisions)}.')
    if not request.out.absolute().parent.is_dir():
        raise UserError(f'--out {request.out}: there is no folder {request.out.parent}. Create it first.')
    for module in {'.onnx': ('onnx', 'onnxscript', 'onnxruntime'), '.xml': ('onnxscript', 'openvino')}.get(
        request.out.suffix, ()
    ):
        need(module, 'openvino' if module == 'openvino' else 'export')


def preprocessing_of(cfg: Config) -> dict[str, Any]:
    """What the test pipeline and the data preprocessor of a config do, as facts of
    :class:`Metadata`.

    Raises:
        ConfigError: a step of the pipeline has no equal in the runtime; names it.
    """
    steps = {'resize': 'none', 'scale': (0, 0)}
    for step in cfg.test_dataloader.dataset.pipeline:
        kind = step['type'].removeprefix('mmdet_dab.').removeprefix('mmdet.')
        if kind == 'Resize' and isinstance(step.get('scale'), (tuple, list)):
            keep = step.get('keep_ratio', False)
            steps = {'resize': 'keep ratio' if keep else 'stretch', 'scale': tuple(step['scale'])}
        elif kind not in ('LoadImageFromFile', 'LoadImageFromNDArray', 'LoadAnnotations', 'PackDetInputs'):
            raise ConfigError(
                f'test_dataloader.dataset.pipeline: the runtime has no {kind}. Take it out, or resize by Resize.'
            )
    normalise = cfg.model.get('data_preprocessor') or {}
    return {
        **steps,
        'mean': tuple(normalise.get('mean') or (0.0, 0.0, 0.0)),
        'std': tuple(normalise.get('std') or (1.0, 1.0, 1.0)),
        'channels': 'rgb' if normalise.get('bgr_to_rgb') else 'bgr',
        'pad_divisor': normalise.get('pad_size_divisor', 1),
    }


def metadata_of(request: Request, model: Any, program: DetectionProgram) -> Metadata:
    """The facts of an exported detector."""
    meta = model.dataset_meta
    colours = meta.get('palette')
    classes = tuple(meta['classes'])
    if not isinstance(colours, (list, tuple)) or len(colours) != len(classes):
        colours = [
            tuple(int(level) for level in np.random.default_rng(label).integers(40, 230, 3))
            for label in range(len(classes))
        ]
    return Metadata(
        classes=classes,
        palette=tuple(tuple(colour) for colour in colours),
        **preprocessing_of(request.config),
        input=request.input,
        max_detections=program.selection.max_per_img,
        threshold=request.threshold,
        precision=request.precision,
        float_parts=(),
        config=Path(request.config.filename or 'config').name,
        weights_sha256=digest(request.checkpoint, model),
        project=__version__,
    )


def digest(checkpoint: Path | None, model: nn.Module) -> str:
    """SHA-256 of a checkpoint file, or of the weights where there is none."""
    state = hashlib.sha256()
    if checkpoint is None:
        for tensor in model.state_dict().values():
            state.update(tensor.numpy().tobytes())
        return state.hexdigest()
    with checkpoint.open('rb') as file:
        while piece := file.read(2**20):
            state.update(piece)
    return state.hexdigest()


def traced(program: nn.Module, kind: torch.dtype) -> Any:
    """The program of ``torch.export`` for any batch and size."""
    # An example of one image would be taken for a constant.
    images = torch.zeros(2, 3, 96, 128, dtype=kind)
    valid_sizes = torch.tensor([[96, 128], [80, 100]])
    batch, size = torch.export.Dim('batch'), torch.export.Dim.DYNAMIC
    shapes = {'images': {0: batch, 2: size, 3: size}, 'valid_sizes': {0: batch}}
    with torch.no_grad():
        return torch.export.export(program, (images, valid_sizes), dynamic_shapes=shapes, strict=False)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without what torch's exporter logs of torchvision, which nothing here needs, and of
    itself."""
    log = logging.getLogger('torch.onnx')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            yield
    finally:
        log.setLevel(level)


def write_onnx(exported: Any, path: Path, metadata: Metadata) -> None:
    """One ``.onnx`` file; one of 2 GB or more cannot hold its weights."""
    with quiet_exporter():
        program: Any = torch.onnx.export(
            exported, opset_version=OPSET, output_names=['scores', 'labels', 'boxes'], verbose=False
        )
    program.model.metadata_props[KEY] = metadata.to_json()
    program.save(str(path))


def write_openvino(exported: Any, path: Path, metadata: Metadata) -> None:
    """An ``.xml`` file and the ``.bin`` with its weights."""
    with tempfile.TemporaryDirectory() as folder:
        onnx_path = Path(folder, 'model.onnx')
        write_onnx(exported, onnx_path, metadata)
        onnx_to_openvino(onnx_path, path, metadata)


def onnx_to_openvino(onnx_path: Path, path: Path, metadata: Metadata) -> None:
    """The same detector as an ``.xml`` file and a ``.bin``."""
    import onnx

    with without_reports():
        import openvino

    model = openvino.Core().read_model(onnx_path)
    model.set_rt_info(metadata.to_json(), [KEY])
    model.set_rt_info(parts.to_json(parts.modules_of(onnx.load(onnx_path))), [parts.KEY])
    openvino.save_model(model, str(path), compress_to_fp16=metadata.precision == 'float16')


def write_pt2(exported: Any, path: Path, metadata: Metadata) -> None:
    """One ``.pt2`` file of ``torch.export``."""
    torch.export.save(exported, path, extra_files={KEY: metadata.to_json()})


WRITERS: dict[str, Callable[[Any, Path, Metadata], None]] = {
    '.onnx': write_onnx,
    '.xml': write_openvino,
    '.pt2': write_pt2,
}


def export(request: Request, tell: Callable[[str], None] = print) -> list[Difference]:
    """Write the file, once it has proved equal to the detector.

    Args:
        request: what to export.
        tell: says what is going on.

    Returns:
        the differences that were found.

    Raises:
        UserError: the request cannot be met, or the file differs from the detector.
    """
    check(request)
    model: Any = build(request.config, request.checkpoint)
    if not isinstance(model, ComposedDETR):
        raise ConfigError(
            f'model.type={type(model).__name__}: only detectors of parts can be exported. For a DETR of '
            f"mmdet write type='Mixed{type(model).__name__}'."
        )
    model.backbone, model.neck = fuse_conv_bn(model.backbone), fuse_conv_bn(model.neck)
    program: Any = DetectionProgram(model).eval()
    metadata = metadata_of(request, model, program)
    if request.input == 'uint8':
        program = UnnormalisedProgram(program, metadata.mean, metadata.std).eval()
    kind = torch.uint8 if request.input == 'uint8' else torch.float32
    tell('tracing the detector …')
    exported = traced(program, kind)
    with tempfile.TemporaryDirectory(dir=request.out.absolute().parent) as folder:
        draft = Path(folder, request.out.name)
        tell(f'writing {request.out.name} …')
        WRITERS[request.out.suffix](exported, draft, metadata)
        differences = []
        tell('comparing it with the detector:  batch × height × width   scores    boxes')
        for found in compared(program, draft, request.input):
            differences.append(found)
            tell(f'  {found.batch} × {found.height} × {found.width}: {found.score:.1e}  {found.box:.1e}')
        refuse_differences(request, differences)
        for file in Path(folder).iterdir():
            shutil.move(str(file), request.out.absolute().parent / file.name)
    return differences


def compared(program: nn.Module, path: Path, kind: str) -> Iterator[Difference]:
    """The differences between the detector and a file, batch by batch."""
    backend = load_backend(path, trusted=True)  # it was written by this process
    for images, valid in batches():
        given = (images * 40 + 128).clip(0, 255).astype(np.uint8) if kind == 'uint8' else images
        with torch.no_grad():
            expected: Detections = tuple(
                part.numpy() for part in program(torch.from_numpy(given), torch.from_numpy(valid))
            )
        yield difference(expected, backend.run(given, valid), (images.shape[2], images.shape[3]))


def refuse_differences(request: Request, differences: list[Difference]) -> None:
    """Refuse a float32 file that is not equal to the detector.

    Raises:
        UserError: names the largest differences and where they are.
    """
    if request.precision != 'float32':
        return
    worst = max(differences, key=lambda found: max(found.score, found.box, float(found.unmatched)))
    if worst.score > TOLERANCE or worst.box > TOLERANCE or worst.unmatched:
        raise UserError(
            f'{request.out}: the exported file is not equal to the detector for a batch of {worst.batch} at '
            f'{worst.height}×{worst.width} (scores {worst.score:.1e}, boxes {worst.box:.1e}, {worst.unmatched} '
            'predictions without a counterpart), and was not kept. A part bakes a size or a batch in: please report '
            'the config.'
        )
