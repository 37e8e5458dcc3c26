"""An exported file made by hand: a few nodes whose outputs can be computed in the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmdet_dab.deploy.metadata import KEY, Metadata

#: Names that break what does not quote them.
CLASSES = ('say "hi",\n=1+1', '<b>&amp;</b>')
METADATA = Metadata(
    classes=CLASSES,
    palette=((200, 30, 30), (30, 30, 200)),
    resize='keep ratio',
    scale=(213, 128),
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    channels='rgb',
    pad_divisor=1,
    input='float32',
    max_detections=2,
    threshold=0.3,
    precision='float32',
    float_parts=(),
    config='hand_made.py',
    weights_sha256='0' * 64,
    project='0',
)


def write_hand_made(path: Path, metadata: Metadata | None = METADATA, height: int | str = 'height') -> Path:
    """A file that finds two objects in every image, whatever is on it.

    Scores 0.9 and 0.2, labels 1 and 0, boxes (1/4, 1/2, 3/4, 1) and (0, 0, height / width of the
    valid size, 1).

    Args:
        path: to write.
        metadata: None leaves it out.
        height: of the images; a number is the only one that the file takes.
    """
    kind = TensorProto.FLOAT if metadata is None or metadata.input == 'float32' else TensorProto.UINT8
    constants = {
        'batch_first': np.array([0], dtype=np.int64),
        'one': np.array([1], dtype=np.int64),
        'two': np.array([2], dtype=np.int64),
        'score_row': np.array([[0.9, 0.2]], dtype=np.float32),
        'label_row': np.array([[1, 0]], dtype=np.int64),
        'first_box': np.array([[[0.25, 0.5, 0.75, 1.0]]], dtype=np.float32),
        'corner': np.array([[[0.0, 0.0]]], dtype=np.float32),
        'whole': np.array([[[1.0]]], dtype=np.float32),
    }
    nodes = [
        ('Shape', ['images'], 'shape', {}),
        ('Gather', ['shape', 'batch_first'], 'batch', {}),
        ('Concat', ['batch', 'two'], 'rows', dict(axis=0)),
        ('Expand', ['score_row', 'rows'], 'scores', {}),
        ('Expand', ['label_row', 'rows'], 'labels', {}),
        ('Cast', ['valid_sizes'], 'sizes', dict(to=TensorProto.FLOAT)),
        ('Split', ['sizes'], ('valid_height', 'valid_width'), dict(axis=1, num_outputs=2)),
        ('Div', ['valid_height', 'valid_width'], 'ratio', {}),
        ('Unsqueeze', ['ratio', 'one'], 'ratios', {}),
        ('Concat', ['batch', 'one', 'one'], 'ones', dict(axis=0)),
        ('Expand', ['corner', 'ones'], 'corners', {}),
        ('Expand', ['whole', 'ones'], 'wholes', {}),
        ('Concat', ['corners', 'ratios', 'wholes'], 'second_boxes', dict(axis=2)),
        ('Expand', ['first_box', 'ones'], 'first_boxes', {}),
        ('Concat', ['first_boxes', 'second_boxes'], 'boxes', dict(axis=1)),
    ]
    graph = helper.make_graph(
        [
            helper.make_node(op, given, [made] if isinstance(made, str) else list(made), **more)
            for op, given, made, more in nodes
        ],
        'hand_made',
        [
            helper.make_tensor_value_info('images', kind, ['batch', 3, height, 'width']),
            helper.make_tensor_value_info('valid_sizes', TensorProto.INT64, ['batch', 2]),
        ],
        [
            helper.make_tensor_value_info('scores', TensorProto.FLOAT, ['batch', 2]),
            helper.make_tensor_value_info('labels', TensorProto.INT64, ['batch', 2]),
            helper.make_tensor_value_info('boxes', TensorProto.FLOAT, ['batch', 2, 4]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    if metadata is not None:
        helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
