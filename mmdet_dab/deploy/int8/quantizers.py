"""Write an exported file anew with some of its parts in int8; one function for each format.

Static quantization: weights per output channel, activations by the range that they have on the
calibration images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from mmdet_dab.deploy.int8.data import CalibrationImages, Inputs
from mmdet_dab.deploy.int8.parts import CONVOLUTIONAL, KEY, modules_of, part_of
from mmdet_dab.deploy.metadata import KEY as METADATA_KEY
from mmdet_dab.deploy.reports import without_reports
from mmdet_dab.errors import UserError

#: What quantization is calibrated on.
Images = CalibrationImages | Sequence[Inputs]
#: What has weights, and the sums and poolings between convolutions, in ONNX Runtime.
ONNX_PRODUCTS = ('Conv', 'MatMul', 'Gemm')
ONNX_BETWEEN = ('Add', 'Relu', 'Clip', 'MaxPool', 'Concat')


def quantize_openvino(file: Path, out: Path, parts: Collection[str], images: Images) -> None:
    """Quantize an ``.xml`` file by NNCF.

    NNCF's mode for transformers is not used: it fails on weights that decoder layers share.

    Args:
        file: of floating point.
        out: the new file, with the metadata of the old one.
        parts: that become int8, names of :data:`~mmdet_dab.deploy.int8.parts.PARTS`.
        images: to calibrate on.
    """
    with without_reports():
        import nncf
        import openvino

    model = openvino.Core().read_model(file)
    if not model.has_rt_info([KEY]):
        raise UserError(f'{file}: does not say which part each node belongs to. Export it anew.')
    modules = json.loads(model.get_rt_info([KEY]).astype(str))
    ignored = [node.friendly_name for node in model.get_ops() if not _becomes_int8(node, modules, parts)]
    nncf.set_log_level('ERROR')
    quantized = nncf.quantize(
        model,
        nncf.Dataset(images),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
    )
    quantized.set_rt_info(model.get_rt_info([METADATA_KEY]).astype(str), [METADATA_KEY])
    openvino.save_model(quantized, out, compress_to_fp16=False)


def _becomes_int8(node: Any, modules: dict[str, str], parts: Collection[str]) -> bool:
    """Whether a node of an OpenVINO graph is quantized. Names that OpenVINO makes have a suffix."""
    part = part_of(modules.get(node.friendly_name.split('/')[0], ''))
    if part not in parts:
        return False
    return part in CONVOLUTIONAL or (
        node.get_type_name() == 'MatMul' and node.input_value(1).get_node().get_type_name() == 'Constant'
    )


def quantize_onnx(file: Path, out: Path, parts: Collection[str], images: Images) -> None:
    """Quantize an ``.onnx`` file by ONNX Runtime; see :func:`quantize_openvino`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Gives the images one by one."""

        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> Inputs | None:
            return next(self.left, None)

    model = onnx.load(file)
    weights = {weight.name for weight in model.graph.initializer}
    modules = modules_of(model)
    chosen = []
    for node in model.graph.node:
        part = part_of(modules.get(node.name, ''))
        between = node.op_type in ONNX_BETWEEN and part in CONVOLUTIONAL
        if part in parts and (between or (node.op_type in ONNX_PRODUCTS and node.input[1] in weights)):
            chosen.append(node.name)
    quantize_static(
        model,
        out,
        Reader(),
        op_types_to_quantize=[*ONNX_PRODUCTS, *ONNX_BETWEEN],
        nodes_to_quantize=chosen,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={'OpTypesToExcludeOutputQuantization': ['MatMul', 'Gemm']},
    )
    quantized = onnx.load(out)
    _spare_the_others(quantized, {node.name for node in model.graph.node} - set(chosen))
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    onnx.save(quantized, out)


def _spare_the_others(model: Any, names: Collection[str]) -> None:
    """Give nodes that were not chosen what they had: ONNX Runtime rounds a tensor for all who read
    it."""
    made_by = {
        node.output[0]: node for node in model.graph.node if node.op_type in ('QuantizeLinear', 'DequantizeLinear')
    }
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            rounded = made_by.get(made_by[name].input[0]) if name in made_by else None
            if node.name in names and rounded is not None:
                node.input[place] = rounded.input[0]


Quantizer = Callable[[Path, Path, Collection[str], Images], None]

#: Endings of files -> what quantizes them.
QUANTIZERS: dict[str, Quantizer] = {'.xml': quantize_openvino, '.onnx': quantize_onnx}
