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
from mmdet_dab.deploy.int8.parts import CONVOLUTIONAL, DEPTHWISE, KEY, modules_of, part_of
from mmdet_dab.deploy.metadata import KEY as METADATA_KEY
from mmdet_dab.deploy.reports import without_reports
from mmdet_dab.errors import UserError

#: What quantization is calibrated on.
Images = CalibrationImages | Sequence[Inputs]
#: What has weights, and the sums and poolings between convolutions, in ONNX Runtime.
ONNX_PRODUCTS = ('Conv', 'MatMul', 'Gemm')
ONNX_BETWEEN = ('Add', 'Relu', 'Clip', 'MaxPool', 'Concat')


def parts_openvino(model: Any, file: Path) -> dict[str, str]:
    """Name of each node of an OpenVINO graph that may become int8 -> its part.

    Args:
        model: ``openvino.Model``.
        file: that it was read from.

    Raises:
        UserError: the file does not say where its nodes come from.
    """
    if not model.has_rt_info([KEY]):
        raise UserError(f'{file}: does not say which part each node belongs to. Export it anew.')
    modules = json.loads(model.get_rt_info([KEY]).astype(str))
    found = {}
    for node in model.get_ops():
        kind = node.get_type_name()
        # Names that OpenVINO makes have a suffix.
        part = part_of(modules.get(node.friendly_name.split('/')[0], ''), kind == 'GroupConvolution')
        weighted = kind == 'MatMul' and node.input_value(1).get_node().get_type_name() == 'Constant'
        if part and (weighted or (part in (*CONVOLUTIONAL, DEPTHWISE) and not _of_mask(node))):
            found[node.friendly_name] = part
    return found


def _of_mask(node: Any) -> bool:
    """Whether a node of a part of convolutions computes on the padding mask, which has one
    channel."""
    if node.get_type_name() in ('Convert', 'Greater', 'Select'):
        return True
    shape: Any = node.get_output_partial_shape(0) if node.get_type_name() == 'MaxPool' else ()
    return len(shape) > 1 and shape[1] == 1


def quantize_openvino(file: Path, out: Path, parts: Collection[str], images: Images) -> None:
    """Quantize an ``.xml`` file by NNCF.

    NNCF's mode for transformers is not used: it fails on weights that decoder layers share.

    Args:
        file: of floating point.
        out: the new file, with the metadata of the old one.
        parts: that become int8, of those that :func:`parts_in` finds.
        images: to calibrate on.
    """
    with without_reports():
        import nncf
        import openvino

    model = openvino.Core().read_model(file)
    found = parts_openvino(model, file)
    ignored = [node.friendly_name for node in model.get_ops() if found.get(node.friendly_name) not in parts]
    nncf.set_log_level('ERROR')
    quantized = nncf.quantize(
        model,
        nncf.Dataset(images),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        # Else the first convolution gets weights of seven bits, for processors without VNNI, and
        # AP falls by a hundredth (EfficientNet-Lite0, blood cells).
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
        ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
    )
    quantized.set_rt_info(model.get_rt_info([METADATA_KEY]).astype(str), [METADATA_KEY])
    openvino.save_model(quantized, out, compress_to_fp16=False)


def parts_onnx(model: Any) -> dict[str, str]:
    """The same of an ONNX graph.

    Args:
        model: ``onnx.ModelProto``.
    """
    weights = {weight.name: weight.dims for weight in model.graph.initializer}
    modules = modules_of(model)
    found = {}
    for node in model.graph.node:
        kernel: Any = weights.get(node.input[1], ()) if node.op_type == 'Conv' else ()
        groups = next((entry.i for entry in node.attribute if entry.name == 'group'), 1)
        part = part_of(modules.get(node.name, ''), bool(kernel) and kernel[1] == 1 and groups > 1)
        between = node.op_type in ONNX_BETWEEN and part in CONVOLUTIONAL
        if part and (between or (node.op_type in ONNX_PRODUCTS and node.input[1] in weights)):
            found[node.name] = part
    return found


def parts_in(file: Path) -> set[str]:
    """The parts of an exported file that may become int8."""
    if file.suffix == '.onnx':
        import onnx

        return set(parts_onnx(onnx.load(file)).values())
    with without_reports():
        import openvino

    return set(parts_openvino(openvino.Core().read_model(file), file).values())


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
    found = parts_onnx(model)
    chosen = [name for name, part in found.items() if part in parts]
    alone = DEPTHWISE in found.values() and DEPTHWISE not in parts
    quantize_static(
        model,
        out,
        Reader(),
        op_types_to_quantize=[*ONNX_PRODUCTS, *ONNX_BETWEEN],
        nodes_to_quantize=chosen,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            'OpTypesToExcludeOutputQuantization': ['MatMul', 'Gemm'],
            # ReLU is left to the range of the int8 tensor after it. A convolution in float reads
            # the tensor before it.
            'QDQKeepRemovableActivations': alone,
        },
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
