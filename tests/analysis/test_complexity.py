"""Parameters and multiply-adds: against arithmetic by hand, mmengine's counter, and the paper."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmdet_dab.analysis import complexity
from mmdet_dab.config import build_detector, load_config
from mmdet_dab.errors import UserError
from mmdet_dab.models import attention
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.commands import call
from tests.helpers.paths import CONFIGS
from tests.helpers.tiny_task import MODEL

SIZE = (64, 96)


def build(**overrides) -> nn.Module:
    return MODELS.build(tiny.tiny_config(**overrides)).eval()


def rows(table: complexity.Row) -> dict[str, complexity.Row]:
    """``encoder.self_attention`` -> its row."""
    found = {}
    for row in table.rows:
        found[row.name] = row
        found.update({f'{row.name}.{inner.name}': inner for inner in row.rows})
    return found


@pytest.fixture(scope='module')
def table() -> dict[str, complexity.Row]:
    model = build()
    return rows(complexity.tabulate(model, complexity.count(model, {SIZE: 1})))


# --- By hand: the tiny detector on one picture of 64×96

D = 32  # width
F_HIDDEN = 512  # feed-forward
S = 4 * 6  # cells at stride 16
N = 7  # queries
C = 3  # classes
L = 3  # decoder layers


def test_backbone_and_neck_by_hand(table):
    """ResNet-18 of 8, 16, 32 channels, without its last stage: outputs × weights of every filter.

    The stem has 7×7 filters and stride 2 (32×48 outputs), the stages have 16×24, 8×12 and 4×6 outputs. A stage is two
    blocks of two 3×3 convolutions; the first block of stages two and three also projects the shortcut.
    """
    stem = 32 * 48 * (7 * 7 * 3 * 8)
    first = 16 * 24 * (4 * 9 * 8 * 8)
    second = 8 * 12 * (9 * 8 * 16 + 3 * 9 * 16 * 16 + 8 * 16)
    third = 4 * 6 * (9 * 16 * 32 + 3 * 9 * 32 * 32 + 16 * 32)
    assert table['backbone'].multiply_adds == stem + first + second + third
    assert table['neck'].multiply_adds == S * 32 * D
    # Weights as above, and two per channel of 14 batch norms; the neck has a bias.
    norms = 2 * (8 + 4 * 8 + 5 * 16 + 5 * 32)
    weights = 7 * 7 * 3 * 8 + 4 * 9 * 64 + (1152 + 27 * 256 + 128) + (4608 + 27 * 1024 + 512)
    assert table['backbone'].parameters == weights + norms
    assert table['neck'].parameters == 32 * D + D


def test_encoder_by_hand(table):
    """One layer: Q, K, V and output projections, QKᵀ and AV over all pairs of cells, two matrices of feed-forward."""
    attention = S * S * D + S * S * D
    assert table['encoder.self_attention'].attention == attention
    assert table['encoder.self_attention'].multiply_adds == 4 * S * D * D + attention
    assert table['encoder.feed_forward'].multiply_adds == 2 * S * D * F_HIDDEN
    assert table['encoder.position_scale'].multiply_adds == 2 * S * D * D
    assert table['encoder.self_attention'].parameters == 4 * (D * D + D)
    assert table['encoder.feed_forward'].parameters == 2 * D * F_HIDDEN + F_HIDDEN + D + 1  # and the slope of a PReLU
    assert table['encoder.others'].parameters == 2 * 2 * D  # two norms


def test_decoder_by_hand(table):
    """Self-attention has six projections of the queries; in cross-attention a query and a key have 2D channels.

    Cross-attention projects the queries three times (content, sine, output), in the first layer once more (P), and the
    cells three times (content, position, value).
    """
    self_attention = L * 2 * N * N * D
    cross_attention = L * (N * S * 2 * D + N * S * D)
    assert table['decoder.self_attention'].attention == self_attention
    assert table['decoder.self_attention'].multiply_adds == L * 6 * N * D * D + self_attention
    assert table['decoder.cross_attention'].attention == cross_attention
    projections = L * (3 * N + 3 * S) + N
    assert table['decoder.cross_attention'].multiply_adds == projections * D * D + cross_attention
    assert table['decoder.feed_forward'].multiply_adds == L * 2 * N * D * F_HIDDEN
    assert table['decoder.self_attention'].parameters == L * 6 * (D * D + D)
    assert table['decoder.cross_attention'].parameters == (L * 6 + 1) * (D * D + D)


def test_positional_query_and_head_by_hand(table):
    """P from 2D channels in every layer, the scale in all but the first, w and h in all; boxes move L − 1 times."""
    learned, scale, size = 2 * D * D + D * D, 2 * D * D, D * D + 2 * D
    assert table['decoder.positional_query'].multiply_adds == N * (L * learned + (L - 1) * scale + L * size)
    box, classes = 2 * D * D + 4 * D, C * D
    assert table['bbox_head'].multiply_adds == N * ((L - 1) * box + L * box + L * classes)
    assert table['bbox_head'].attention == 0
    assert table['query_generator'].parameters == 4 * N


def test_parts_add_up_to_the_whole():
    model = build()
    whole = complexity.tabulate(model, complexity.count(model, {SIZE: 1}))
    for row in (whole, *whole.rows):
        for field in ('parameters', 'multiply_adds', 'attention'):
            if row.rows:
                assert sum(getattr(inner, field) for inner in row.rows) == getattr(row, field), (row.name, field)
    assert whole.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_only_attention_is_what_mmengine_leaves_out():
    """mmengine traces the model and knows convolutions and linear layers, but no fused attention."""
    model = build()
    counts = complexity.count(model, {SIZE: 1})
    stock = FlopAnalyzer(model, torch.zeros(1, 3, *SIZE)).unsupported_ops_warnings(False).by_operator()
    products = {name: value for name, value in stock.items() if 'norm' not in name}
    assert set(products) == {'conv', 'linear'}
    assert counts.weights.total() == sum(products.values())
    assert counts.attention.total() == 2 * S * S * D + L * (2 * N * N * D + 3 * N * S * D)


def test_a_shared_parameter_counts_once():
    model = build()
    before = complexity.count(model, {SIZE: 1}).parameters.total()
    model.encoder.layers[0].self_attention.key.weight = model.encoder.layers[0].self_attention.query.weight
    counts = complexity.count(model, {SIZE: 1})
    assert counts.parameters.total() == before - D * D


# --- Any operation


class Operation(nn.Module):
    """A "detector" that is one function of a picture and an optional layer."""

    def __init__(self, function, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.function = function
        self.layer = layer

    def forward(self, inputs: Tensor, data_samples: list, mode: str) -> Tensor:
        return self.function(self.layer, inputs)


def heads(picture: Tensor, channels: int) -> Tensor:
    """(1, 2, 20, channels), two heads of 20 tokens."""
    return picture.new_zeros(1, 2, 20, channels)


CASES = {
    'grouped convolution': (
        lambda layer, x: layer(x),
        nn.Conv2d(3, 6, 5, padding=2, groups=3),
        8 * 10 * 6 * (5 * 5 * 1),
        0,
    ),
    'transposed convolution: a product of every input with every filter': (
        lambda layer, x: layer(x),
        nn.ConvTranspose2d(3, 4, 2, stride=2),
        8 * 10 * 3 * (4 * 2 * 2),
        0,
    ),
    'linear layer without bias': (
        lambda layer, x: layer(x.flatten(2).transpose(1, 2)),
        nn.Linear(3, 5, bias=False),
        80 * 3 * 5,
        0,
    ),
    'einsum with a weight': (
        lambda layer, x: torch.einsum('bchw,dc->bdhw', x, layer.weight),
        nn.Linear(3, 5),
        80 * 3 * 5,
        0,
    ),
    'activations with activations': (
        lambda layer, x: heads(x, 6) @ heads(x, 6).transpose(2, 3),
        None,
        0,
        2 * 20 * 20 * 6,
    ),
    'fused attention, values wider than keys': (
        lambda layer, x: F.scaled_dot_product_attention(heads(x, 6), heads(x, 6), heads(x, 7)),
        None,
        0,
        2 * 20 * 20 * (6 + 7),
    ),
    'fused attention with a mask': (
        lambda layer, x: F.scaled_dot_product_attention(
            heads(x, 8), heads(x, 8), heads(x, 8), attn_mask=torch.zeros(20, 20, dtype=torch.bool)
        ),
        None,
        0,
        2 * 20 * 20 * 16,
    ),
    "torch's multi-head attention": (
        lambda layer, x: layer(*[x.new_zeros(1, 20, 8)] * 3)[0],
        nn.MultiheadAttention(8, 2, batch_first=True),
        4 * 20 * 8 * 8,
        2 * 20 * 20 * 8,
    ),
    'bilinear samples': (
        lambda layer, x: F.grid_sample(x, x.new_zeros(1, 4, 5, 2), align_corners=False),
        None,
        0,
        5 * 3 * 4 * 5,
    ),
    'work on single elements': (lambda layer, x: (x * x).softmax(-1) + x.sin(), None, 0, 0),
}


def needs_values(function):
    """The same function, but one that looks at its input, which tensors without content do not allow."""

    def looking(layer, x):
        assert x.sum().item() == 0
        return function(layer, x)

    return looking


@pytest.mark.parametrize('device', ['meta', 'cpu'])
@pytest.mark.parametrize('name', CASES)
def test_operation_by_hand(name, device):
    """Also on the CPU, whose kernels are others: the figures must not depend on which one attention takes."""
    function, layer, weights, attention = CASES[name]
    model = Operation(function if device == 'meta' else needs_values(function), layer).eval()
    counts = complexity.count(model, {(8, 10): 1})
    assert counts.device == device
    assert (counts.weights.total(), counts.attention.total()) == (weights, attention)


def test_the_whole_detector_counts_the_same_on_the_cpu(table, monkeypatch):
    """But for the zeros that make values as wide as keys there, which are no work of the model."""
    monkeypatch.setattr(attention, 'FUSED_DEVICES', ())
    model = build()

    def look(module, inputs):
        inputs[0].sum().item()

    model.register_forward_pre_hook(look)
    counts = complexity.count(model, {SIZE: 1})
    assert counts.device == 'cpu'
    assert rows(complexity.tabulate(model, counts)) == table


def test_an_unknown_product_is_refused_instead_of_left_out():
    model = Operation(lambda layer, x: torch.mv(x[0, 0], x[0, 0, 0]))
    with pytest.raises(NotImplementedError, match=r'aten\.mv looks like a product'):
        complexity.count(model, {(8, 10): 1})


@pytest.mark.parametrize(
    ('kernel', 'arguments'),
    [
        ('_scaled_dot_product_efficient_attention', (None, False)),
        ('_scaled_dot_product_flash_attention', ()),
        ('_scaled_dot_product_cudnn_attention', (None, False)),
    ],
)
def test_kernels_of_a_gpu(kernel, arguments):
    """Values may be wider than keys there, as those of the CPU may not."""
    wide = 8 if 'flash' in kernel else 16
    attend = getattr(torch.ops.aten, kernel)
    model = Operation(lambda layer, x: attend(heads(x, 8), heads(x, 8), heads(x, wide), *arguments))
    assert complexity.count(model, {(8, 10): 1}).attention == {'': 2 * 20 * 20 * (8 + wide)}


def test_an_operation_belongs_to_the_module_that_runs_it():
    """A product before, in and after a layer."""

    def around(layer, x):
        before = x @ x.transpose(2, 3)  # 3 times (8, 10) · (10, 8)
        inside = layer(before)
        return inside @ x  # 3 times (8, 8) · (8, 10)

    counts = complexity.count(Operation(around, nn.Linear(8, 8)), {(8, 10): 1})
    assert counts.attention == {'': 2 * 3 * 8 * 10 * 8}
    assert counts.weights == {'layer': 3 * 8 * 8 * 8}


@pytest.mark.parametrize('device', ['meta', 'cpu'])
def test_counting_leaves_the_model_as_it_was(device):

    def function(layer, x):
        return layer(x)

    model = Operation(function if device == 'meta' else needs_values(function), nn.Conv2d(3, 4, 1))
    counts = complexity.count(model, {(8, 10): 1})
    assert counts.device == device
    assert [name for name, _ in model.named_parameters()] == ['layer.weight', 'layer.bias']
    assert all(parameter.device.type == 'cpu' for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# --- The paper

#: Model of table 2 -> config, GFLOPs, millions of parameters.
TABLE_2 = {
    'R50': ('dab_detr_r50_50e', 94, 44),
    'R50*': ('dab_detr_r50_3pat_50e', 100, 44),
    'DC5-R50': ('dab_detr_r50_dc5_50e', 202, 44),
    'DC5-R50*': ('dab_detr_r50_dc5_3pat_50e', 216, 44),
    'R101': ('dab_detr_r101_50e', 174, 63),
    'R101*': ('dab_detr_r101_3pat_50e', 179, 63),
    'DC5-R101': ('dab_detr_r101_dc5_50e', 282, 63),
    'DC5-R101*': ('dab_detr_r101_dc5_3pat_50e', 296, 63),
}
#: ResNet-101 beyond ResNet-50: 17 bottlenecks (1×1, 3×3, 1×1) at stride 16.
CELLS = math.ceil(800 / 16) * math.ceil(1111 / 16)
MORE_OF_R101 = 17 * (1024 * 256 + 9 * 256 * 256 + 256 * 1024) * CELLS


@pytest.fixture(scope='module')
def measured() -> dict[str, complexity.Row]:
    result = {}
    for name, (config, *_) in TABLE_2.items():
        with torch.device('meta'):
            model = build_detector(load_config(CONFIGS / f'{config}.py'))
        result[name] = complexity.tabulate(model, complexity.count(model, {complexity.MEAN_SIZE: 1}))
    return result


@pytest.mark.parametrize('name', TABLE_2)
def test_table_2(name, measured):
    """Parameters within 2 %. Multiply-adds within 5 % with R50.

    With R101 the paper's figure grows by more than ResNet-101 costs: there, what it costs is added to the row of R50.
    """
    _, paper, parameters = TABLE_2[name]
    assert measured[name].parameters == pytest.approx(parameters * 1e6, rel=0.02)
    if 'R101' in name:
        base = name.replace('R101', 'R50')
        assert measured[name].multiply_adds - measured[base].multiply_adds == MORE_OF_R101
        assert paper - TABLE_2[base][1] >= 79 > 1.15 * MORE_OF_R101 / 1e9
        paper = TABLE_2[base][1] + MORE_OF_R101 / 1e9
    assert measured[name].multiply_adds == pytest.approx(paper * 1e9, rel=0.05)


def test_the_documentation_states_these_figures(measured):
    """The rows in the docstring of the module: the mean over 100 images, half a per cent from one of mean size."""
    stated = re.findall(r'(\S*R\d\S+)\s+([\d.]+) for\s+(\d+)(?= {4}|\n)', complexity.__doc__)
    assert {name: float(paper) for name, _, paper in stated} == {name: row[1] for name, row in TABLE_2.items()}
    for name, mean, _ in stated:
        assert measured[name].multiply_adds == pytest.approx(float(mean) * 1e9, rel=0.005)


def test_mean_size_stands_for_the_100_images():
    pictures = complexity.FIRST_100_IMAGES
    assert sum(pictures.values()) == 100
    for height, width in pictures:
        assert height == 800 <= width <= 1333 or (width == 1333 and height < 800)
    area = sum(height * width * number for (height, width), number in pictures.items()) / 100
    assert area == pytest.approx(math.prod(complexity.MEAN_SIZE), rel=2e-4)
    model = build()
    mean, one = complexity.count(model, pictures), complexity.count(model, {complexity.MEAN_SIZE: 1})
    assert one.weights.total() == pytest.approx(mean.weights.total(), rel=0.005)
    # Pairs of cells grow with the square of the area, whose spread one size does not have.
    assert 0.95 * mean.attention.total() < one.attention.total() < mean.attention.total()


def test_the_mean_is_weighted():
    """Three pictures of one size and one of another."""
    model = Operation(lambda layer, x: layer(x), nn.Conv2d(3, 1, 1))
    counts = complexity.count(model, {(8, 10): 3, (16, 10): 1})
    assert counts.weights == {'layer': (3 * 80 * 3 + 160 * 3) // 4}


# --- The tool


def test_tool_prints_the_table_and_writes_exact_numbers(tmp_path: Path, capsys):
    call('complexity', MODEL, '--shape', *SIZE, '--json', tmp_path / 'counts.json')
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / 'counts.json').read_text())
    model = build_detector(load_config(str(MODEL), {}))
    expected = complexity.tabulate(model, complexity.count(model, {SIZE: 1}))
    assert report['parameters'] == sum(parameter.numel() for parameter in model.parameters())
    assert report['multiply_adds'] == expected.multiply_adds
    assert [row['name'] for row in report['rows']] == [row.name for row in expected.rows]
    line = next(line for line in printed.splitlines() if line.split()[:1] == ['encoder'])
    encoder = rows(expected)['encoder']
    assert line.split()[1::2] == [
        f'{value:.3f}' for value in (encoder.parameters / 1e6, encoder.multiply_adds / 1e9, encoder.attention / 1e9)
    ]
    assert f'it would be {(expected.multiply_adds - expected.attention) / 1e9:.3f} G' in printed


def test_tool_counts_a_config_of_mmdet(tmp_path: Path):
    """mmdet's DETR: 41M parameters in its paper (40.6 without the batch norms' and with 91 classes)."""
    output = tmp_path / 'detr.json'
    config = 'mmdet::detr/detr_r50_8xb2-150e_coco.py'
    call('complexity', config, '--shape', 64, 96, '--json', output)
    report = json.loads(output.read_text())
    assert report['parameters'] == pytest.approx(41e6, rel=0.02)
    parts = {row['name']: row for row in report['rows']}
    # 2 × 3 cells, 6 layers: QKᵀ and AV.
    assert parts['encoder']['attention'] == 6 * 2 * 6 * 6 * 256
    assert parts['decoder']['attention'] == 6 * 2 * (100 * 100 + 100 * 6) * 256


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--shape', 0, 96], r'--shape 0 96: give a height and a width of at least 1 pixel'),
        (['--json', 'missing/counts.json'], r'--json missing/counts\.json: there is no folder missing'),
        (['--cfg-options', 'model.neck.in_channels=[31]', '--shape', *SIZE], r'cannot run on 64×96 pixels: .*channels'),
        (['--cfg-options', 'model.decoder.num_layers=0'], r'cannot be built: TransformerDecoder: num_layers=0'),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments, message, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        call('complexity', MODEL, *arguments)
