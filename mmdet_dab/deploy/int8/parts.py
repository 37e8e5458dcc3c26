"""Which part of the detector each product of an exported file belongs to.

The names of nodes change with every version of the exporter. What does not change is the module
that a node was traced in, which torch's exporter writes into the metadata of each ONNX node.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

#: Where torch's exporter writes the modules that a node was traced in, from the outermost.
SCOPES = 'pkg.torch.onnx.name_scopes'
#: Where an OpenVINO file holds the modules of its nodes, as JSON; OpenVINO drops those of ONNX.
KEY = 'mmdet_dab_modules'

#: What may become int8, and the modules that it consists of. What computes anchors, positions and
#: boxes is not here: eight bits are a quarter of a per cent of the image.
PARTS: Mapping[str, tuple[str, ...]] = {
    'backbone': ('backbone.',),
    'neck': ('neck.',),
    'encoder': ('encoder.layers.',),
    'decoder': ('decoder.layers.',),
}
#: Parts of convolutions. All of their nodes are quantized, sums too; elsewhere only products with
#: weights.
CONVOLUTIONAL = ('backbone', 'neck')
#: The convolutions of these parts that see one channel each: a part of its own, wherever they are.
#: Their few products make little speed, and the eight bits of each are averaged over fewer.
DEPTHWISE = 'depthwise convolutions'
#: All of them, in the order of a prediction.
EVERY = ('backbone', DEPTHWISE, 'neck', 'encoder', 'decoder')


def modules_of(model: Any) -> dict[str, str]:
    """Name of a node -> the module of the detector that it was traced in, such as
    ``backbone.layer1.0.conv1``.

    Args:
        model: ``onnx.ModelProto`` that torch wrote; its weights are not looked at.
    """
    found = {}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), '') or '[]'
        inside = [scope for scope in ast.literal_eval(scopes) if 'detector.' in scope]
        if inside:
            found[node.name] = inside[-1].split('detector.', 1)[1]
    return found


def to_json(modules: Mapping[str, str]) -> str:
    """The text under :data:`KEY`."""
    return json.dumps(dict(modules))


def part_of(module: str, depthwise: bool = False) -> str | None:
    """The part that may become int8 to which a node belongs, or None.

    Args:
        module: that the node was traced in.
        depthwise: whether it is a convolution of single channels.
    """
    part = next((part for part, starts in PARTS.items() if f'{module}.'.startswith(starts)), None)
    return DEPTHWISE if depthwise and part in CONVOLUTIONAL else part
