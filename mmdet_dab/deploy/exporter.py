"""From a config and a checkpoint to one file that runs without them: any batch, any size and
padding.

The file is compared with the detector before it gets its name: one that differs is not left behind.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.config import Config
from torch import Tensor, nn

from mmdet_dab import interop
from mmdet_dab.config import build
from mmdet_dab.deploy.exportable import make_exportable
from mmdet_dab.deploy.int8 import parts
from mmdet_dab.deploy.metadata import KEY, Metadata
from mmdet_dab.deploy.onnx_graph import drop_nan_guards
from mmdet_dab.deploy.program import DetectionProgram, padding_of
from mmdet_dab.deploy.reports import without_reports
from mmdet_dab.deploy.request import PRECISIONS, Request, check_target, unfinished
from mmdet_dab.deploy.tracing import part_with, traced
from mmdet_dab.deploy.verify import TOLERANCES, Difference, compared, ranking_part, refusal, row
from mmdet_dab.errors import ConfigError, UserError
from mmdet_dab.models.detector import ComposedDETR
from mmdet_dab.optimize import optimize_for_inference
from mmdet_dab.version import __version__

__all__ = ['PRECISIONS', 'WRITERS', 'Request', 'export']

OPSET = 18
#: Weights of fewer numbers are not worth a conversion when a file is loaded.
HALVED_FROM = 1024


class UnnormalisedProgram(nn.Module):
    """A program that takes images as they are resized, (B, 3, H, W) uint8, and normalises them.

    Args:
        program: takes normalised images.
        mean, std: of its channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, program: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.program = program
        self.register_buffer('mean', torch.tensor(mean)[:, None, None])
        self.register_buffer('std', torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor, valid_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :class:`DetectionProgram`; what the padding holds makes no difference."""
        padding = padding_of(valid_sizes, images.size(2), images.size(3))
        normalised = (images.float() - self.mean) / self.std
        return self.program(normalised.masked_fill(padding[:, None], 0), valid_sizes)


def preprocessing_of(cfg: Config) -> dict[str, Any]:
    """What the test pipeline and the data preprocessor of a config do, as facts of
    :class:`Metadata`.

    Raises:
        ConfigError: a step of the pipeline has no equal in the runtime; names it.
    """
    steps = {'resize': 'none', 'scale': (0, 0)}
    for step in ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []:
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
        'channels': 'rgb' if normalise.get('bgr_to_rgb') or normalise.get('rgb_to_bgr') else 'bgr',
        'pad_divisor': normalise.get('pad_size_divisor', 1),
    }


def metadata_of(request: Request, model: Any) -> Metadata:
    """The facts of an exported detector."""
    meta = model.dataset_meta
    colours = meta.get('palette')
    number = model.bbox_head.num_classes
    classes = tuple(meta.get('classes') or (f'class {label}' for label in range(number)))
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
        max_detections=DetectionProgram.selecting(model)[1].max_per_img,
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
    to_onnx(exported, path, metadata)
    if metadata.precision == 'float16':
        halve_weights(path)


def to_onnx(exported: Any, path: Path, metadata: Metadata) -> None:
    """The same with weights in float32.

    Raises:
        ConfigError: ONNX has no operation for one that a part calls; names the part.
    """
    try:
        with quiet_exporter():
            program: Any = torch.onnx.export(
                exported, opset_version=OPSET, output_names=['scores', 'labels', 'boxes'], verbose=False
            )
    except torch.onnx.errors.OnnxExporterError as error:
        operation = failed_operation(error)
        raise ConfigError(
            f'{part_with(exported, operation)} cannot be exported to ONNX, which has no operation for '
            f'{operation or "it"}. Exchange the part, or write a .pt2 file.'
        ) from error
    drop_nan_guards(program.model)
    program.model.metadata_props[KEY] = metadata.to_json()
    program.save(str(path))


def failed_operation(error: BaseException | None) -> str:
    """The operation that torch's exporter names in an error or in its causes, or ''."""
    while error is not None:
        found = re.search(r"target=torch\.ops\.([\w.]+)|op='([\w.]+)'", str(error))
        if found:
            return found[1] or found[2]
        error = error.__cause__
    return ''


def halve_weights(path: Path) -> None:
    """Keep the weights of an ONNX file in float16; a runtime makes them float32 when it loads
    them."""
    import onnx

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < HALVED_FROM:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16)))
        tensor.name = f'{name}_float16'
        casts.append(onnx.helper.make_node('Cast', [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def write_openvino(exported: Any, path: Path, metadata: Metadata) -> None:
    """An ``.xml`` file and the ``.bin`` with its weights."""
    with tempfile.TemporaryDirectory() as folder:
        onnx_path = Path(folder, 'model.onnx')
        to_onnx(exported, onnx_path, metadata)
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


def of_parts(config: Config) -> Config:
    """The config with mmdet's own DETR in the assembly that computes the same of parts."""
    kind = str(config.model.type).removeprefix('mmdet.')
    if f'Mixed{kind}' not in interop.__all__:
        return config
    config = copy.deepcopy(config)
    config.model.type = f'mmdet_dab.Mixed{kind}'
    return config


def build_of_parts(request: Request) -> Any:
    """The detector, with its weights.

    Raises:
        ConfigError: it is not made of parts, or cannot be built.
        CheckpointError: the weights are those of another model.
    """
    model: Any = build(of_parts(request.config), request.checkpoint)
    if not isinstance(model, ComposedDETR):
        raise ConfigError(
            f'model.type={request.config.model.type}: the detector is not made of parts that can be exported. These '
            'are: ComposedDETR, and DETR, ConditionalDETR, DABDETR and DeformableDETR of mmdet, or the Mixed… of them.'
        )
    return model


def program_of(model: ComposedDETR, request: Request, metadata: Metadata) -> nn.Module:
    """What the file computes. The model is not changed."""
    model = copy.deepcopy(model)
    make_exportable(model)
    if request.out.suffix == '.pt2' and request.precision != 'float32':
        optimize_for_inference(model, getattr(torch, request.precision))
    else:
        model.backbone, model.neck = fuse_conv_bn(model.backbone), fuse_conv_bn(model.neck)
    program = DetectionProgram(model)
    if request.input == 'uint8':
        return UnnormalisedProgram(program, metadata.mean, metadata.std).eval()
    return program.eval()


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
    check_target(request.out, request.precision, request.threshold)
    model = build_of_parts(request)
    metadata = metadata_of(request, model)
    program = program_of(model, request, metadata)
    tell('tracing the detector …')
    exported = traced(program, torch.uint8 if request.input == 'uint8' else torch.float32)
    folder_of_file = request.out.absolute().parent
    with unfinished(request.out) as folder:
        draft = Path(folder, request.out.name)
        tell(f'writing {request.out.name} …')
        WRITERS[request.out.suffix](exported, draft, metadata)
        differences = []
        tell('comparing it with the detector: |Δ score|, |Δ box| in parts of the image')
        tell(row('batch', 'height', 'width', 'score', 'box', 'farthest', 'unmatched'))
        for found in compared(model, draft, metadata):
            differences.append(found)
            tell(row(*found[:3], *(f'{apart:.1e}' for apart in found[3:6]), found.unmatched))
        problem = refusal(differences, metadata.precision, ranking_part(model))
        if problem:
            raise UserError(f'{request.out}: {problem}')
        for file in Path(folder).iterdir():
            shutil.move(str(file), folder_of_file / file.name)
    tolerance = TOLERANCES[metadata.precision]
    tell(f'equal within {tolerance.score:g} (score) and {tolerance.box:g} (box), as {metadata.precision} should be')
    return differences
