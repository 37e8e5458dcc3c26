"""Parameters and multiply-adds of a detector, part by part, attention included.

**What is counted.** One multiply-add for every product in a convolution, in a matrix product and in
attention's QKᵀ and AV. ``grid_sample``, through which deformable attention looks, counts 5 for
every value that it reads: 4 for the bilinear interpolation and 1 for the weight of the value in the
sum (Deformable DETR, arXiv 2010.04159, section 4.1). Work on single elements is not counted: norms,
activations, softmax, sine codes, residuals. The literature calls this number FLOPs, although a
multiply-add is two operations.

**How.** The model runs on tensors that have a shape and no content (torch's ``meta`` device), and a
dispatch mode counts every operation that reaches a kernel. An unknown operation that looks like a
product is refused, not left out. Each operation counts for the innermost module that runs it. The
box MLP, for example, which the decoder calls too, counts for the head, where its parameters are. A
model that reads values on its way cannot run on such tensors; it runs on a black image on the CPU
instead. Operations compiled outside torch (mmcv's own) are not counted.

**At which size.** DETR and its successors give the mean over the first 100 images of COCO
val2017, resized to 800 (longer side: at most 1333). :data:`FIRST_100_IMAGES` holds the sizes that
this makes, :data:`MEAN_SIZE` has their mean area; the multiply-adds there are the mean's to half a
per cent, as all but the encoder's attention grow in proportion to the area.

**Against table 2 of the paper** (G multiply-adds, mean over the 100 images; parameters: 43.7 M
for 44 M, 62.7 M for 63 M):

    R50   90.0 for  94    DC5-R50  193.9 for 202    R101  156.2 for 174    DC5-R101  260.0 for 282
    R50* 102.9 for 100    DC5-R50* 214.0 for 216    R101* 169.1 for 179    DC5-R101* 280.1 for 296

The rows with R50 agree within 5 %. Those with R101 are 5 % to 10 % below the paper's, and the
backbone is why: from R50 to R101 the paper's figures grow by 79 or 80 G. ResNet-101 is ResNet-50
with 17 more bottlenecks at stride 16, of 1,114,112 weights each, which is 66 G at these sizes (17 ·
1,114,112 · 3,500 cells). DETR and Conditional DETR report 66 as well (152 − 86, 156 − 90). The
method gives the figures of these two papers within 3 %, with R101 as with R50 (on mmdet's
implementations): DETR 84.6 for 86, DC5 182.6 for 187, R101 150.8 for 152, DC5-R101 248.8 for 253;
Conditional DETR 88.7 for 90, 190.5 for 195, 154.9 for 156, 256.6 for 262.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# fmt: off (H, W) of the first 100 images of COCO val2017, resized to 800 with a longer side of at
# most 1333, and how many there are of each; a portrait costs what the landscape costs.
FIRST_100_IMAGES: Mapping[tuple[int, int], int] = MappingProxyType(
    {
        (656, 1333): 1,
        (727, 1333): 1,
        (731, 1333): 1,
        (748, 1333): 1,
        (752, 1333): 3,
        (756, 1333): 1,
        (762, 1333): 1,
        (800, 800): 5,
        (800, 803): 1,
        (800, 824): 1,
        (800, 874): 1,
        (800, 923): 1,
        (800, 929): 1,
        (800, 931): 1,
        (800, 950): 1,
        (800, 964): 1,
        (800, 1000): 1,
        (800, 1010): 1,
        (800, 1060): 1,
        (800, 1062): 1,
        (800, 1067): 30,
        (800, 1071): 1,
        (800, 1115): 1,
        (800, 1120): 1,
        (800, 1153): 1,
        (800, 1156): 1,
        (800, 1193): 1,
        (800, 1196): 2,
        (800, 1199): 17,
        (800, 1200): 2,
        (800, 1201): 2,
        (800, 1202): 4,
        (800, 1205): 7,
        (800, 1208): 1,
        (800, 1222): 1,
        (800, 1325): 1,
        (800, 1333): 1,
    }
)
# fmt: on
#: (H, W) with the mean area of these images.
MEAN_SIZE = (800, 1111)

aten = torch.ops.aten

# Formulas: the arguments and the result of an operation -> its multiply-adds, and the tensors that
# may be weights.
Formula = Callable[[Sequence[Any], Any], tuple[int, Sequence[Any]]]


def _convolution(args: Sequence[Any], out: Tensor) -> tuple[int, Sequence[Any]]:
    """Every output takes a product with each weight of its filter; transposed, every input gives
    one.
    """
    maps, weight, transposed = args[0], args[1], args[6]
    return (maps if transposed else out).numel() * math.prod(weight.shape[1:]), (weight,)


def _matrix_product(args: Sequence[Any], out: Tensor) -> tuple[int, Sequence[Any]]:
    """(…, N, K) · (…, K, M), the last two arguments; what is added to it may come before."""
    left, right = args[-2:]
    return out.numel() * left.size(-1), (left, right)


def _attention(args: Sequence[Any], out: Any) -> tuple[int, Sequence[Any]]:
    """QKᵀ and AV: (B, H, N, E), (B, H, S, E), (B, H, S, E') -> B·H·N·S·(E + E')."""
    query, key, value = args[:3]
    return math.prod(query.shape[:-1]) * key.size(-2) * (query.size(-1) + value.size(-1)), ()


def _bilinear_sampling(args: Sequence[Any], out: Tensor) -> tuple[int, Sequence[Any]]:
    """4 neighbours, and the weight of the sample in deformable attention's sum."""
    return 5 * out.numel(), ()


FORMULAS: Mapping[Any, Formula] = MappingProxyType(
    {
        aten.convolution: _convolution,
        aten.mm: _matrix_product,
        aten.addmm: _matrix_product,
        aten.bmm: _matrix_product,
        aten.baddbmm: _matrix_product,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention: _attention,
        aten._scaled_dot_product_efficient_attention: _attention,
        aten._scaled_dot_product_cudnn_attention: _attention,
        aten.grid_sampler_2d: _bilinear_sampling,
    }
)
#: Words in the names of torch's operations that make them products.
PRODUCT_WORDS = frozenset(
    (
        'attention',
        'addbmm',
        'addmv',
        'conv2d',
        'convolution',
        'dot',
        'einsum',
        'linear',
        'matmul',
        'mm',
        'mv',
        'sampler',
    )
)


def _storage(tensor: Tensor) -> int:
    """What a tensor shares with its views, also without content."""
    return tensor.untyped_storage()._cdata


class ProductCounter(TorchDispatchMode):
    """Counts the multiply-adds of a model's modules while it is entered.

    Args:
        model: its modules are told apart by name; operations outside of them count for ``''``.

    Attributes:
        weights: module -> products with parameters or buffers.
        attention: module -> products of activations with activations, and samples.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.weights: Counter[str] = Counter()
        self.attention: Counter[str] = Counter()
        self._model = model
        self._running = ['']
        self._hooks = ExitStack()
        self._stored = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}

    def __enter__(self) -> ProductCounter:
        for name, module in self._model.named_modules():
            self._hooks.enter_context(module.register_forward_pre_hook(self._entering(name)))
            self._hooks.enter_context(module.register_forward_hook(self._leave))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._hooks.close()
        super().__exit__(*error)

    def _entering(self, name: str) -> Callable[..., None]:
        return lambda *_: self._running.append(name)

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in FORMULAS:
            products, factors = FORMULAS[operation](args, out)
            weighted = any(_storage(factor) in self._stored for factor in factors)
            (self.weights if weighted else self.attention)[self._running[-1]] += products
        elif PRODUCT_WORDS & set(operation.__name__.split('_')):
            raise NotImplementedError(f'{operation} looks like a product, but no formula says what it costs')
        return out


# --- Running a model


def _run(model: nn.Module, size: tuple[int, int], device: str) -> ProductCounter:
    """One image of (H, W) pixels through ``model``, which is on ``device``."""
    sample = DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    )
    # In a `torch.device` context nn.MultiheadAttention runs as separate operations, instead of as a
    # single one.
    with torch.no_grad(), torch.device(device), ProductCounter(model) as counter:
        model(torch.zeros(1, 3, *size), [sample], mode='tensor')
    return counter


@dataclass(frozen=True)
class Counts:
    """What each module of a model holds and does, by name.

    Attributes:
        parameters: parameter -> elements; one that several parts share counts for the first.
        weights: module -> multiply-adds with weights, in a mean image.
        attention: module -> multiply-adds of activations with activations, in a mean image.
        device: ``'meta'``, or ``'cpu'`` where the model needs values.
    """

    parameters: Counter[str]
    weights: Counter[str]
    attention: Counter[str]
    device: str


def count(model: nn.Module, sizes: Mapping[tuple[int, int], int]) -> Counts:
    """Count parameters and multiply-adds.

    Args:
        model: a detector of mmdet's kind, in inference mode, on the CPU.
        sizes: (H, W) of images -> how many; the multiply-adds are the mean over them.

    Raises:
        RuntimeError: the model cannot run on such images.
    """
    parameters = Counter({name: parameter.numel() for name, parameter in model.named_parameters()})
    try:
        device, shapes = 'meta', copy.deepcopy(model).to('meta')
        runs = [(_run(shapes, size, device), number) for size, number in sizes.items()]
    except RuntimeError:  # as torch calls it when the content of a tensor is asked for
        device = 'cpu'
        runs = [(_run(model, size, device), number) for size, number in sizes.items()]
    return Counts(
        parameters,
        _mean((run.weights, number) for run, number in runs),
        _mean((run.attention, number) for run, number in runs),
        device,
    )


def _mean(counters: Iterable[tuple[Counter[str], int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    images = 0
    for counter, number in counters:
        images += number
        for name, value in counter.items():
            total[name] += number * value
    return Counter({name: round(value / images) for name, value in total.items()})


# --- The table


@dataclass(frozen=True)
class Row:
    """A part of the model.

    Attributes:
        name: of its attribute in the part above.
        parameters: elements.
        multiply_adds: all of them.
        attention: those of activations with activations.
        rows: its own parts, which add up to it; none where it is not taken apart.
    """

    name: str
    parameters: int
    multiply_adds: int
    attention: int
    rows: tuple[Row, ...] = ()


def tabulate(model: nn.Module, counts: Counts) -> Row:
    """The parts of a model, and what the parts of its layers do in all layers together."""
    rows = [
        _take_apart(_row(name, counts, [name]), child, counts)
        for name, child in model.named_children()
        if name != 'data_preprocessor'  # works on the batch before the model does
    ]
    return _complete(_row(type(model).__name__, counts, ['']), rows)


def _row(name: str, counts: Counts, modules: Sequence[str]) -> Row:
    """The sum over modules and all that is in them."""

    def total(counter: Counter[str]) -> int:
        prefixes = tuple(f'{module}.' for module in modules)
        inside = (value for key, value in counter.items() if f'{key}.'.startswith(prefixes) or '' in modules)
        return sum(inside)

    weights, attention = total(counts.weights), total(counts.attention)
    return Row(name, total(counts.parameters), weights + attention, attention)


def _take_apart(row: Row, part: nn.Module, counts: Counts) -> Row:
    """A part that is a stack of ``layers``: the parts of its layers, each summed over them, and its
    others.
    """
    layers = getattr(part, 'layers', None)
    if not isinstance(layers, nn.ModuleList):
        return row
    places: dict[str, list[str]] = {}
    for index, layer in enumerate(layers):
        for name, _ in layer.named_children():
            places.setdefault(name, []).append(f'{row.name}.layers.{index}.{name}')
    for name, _ in part.named_children():
        if name != 'layers':
            places[name] = [f'{row.name}.{name}']
    rows = [_row(name, counts, modules) for name, modules in places.items()]
    return _complete(row, [row for row in rows if row.multiply_adds])


def _complete(whole: Row, rows: Sequence[Row]) -> Row:
    """``whole`` with its rows, and one for what is in none of them."""
    rest = [
        getattr(whole, field) - sum(getattr(row, field) for row in rows)
        for field in ('parameters', 'multiply_adds', 'attention')
    ]
    others = [Row('others', *rest)] if any(rest) else []
    return Row(whole.name, whole.parameters, whole.multiply_adds, whole.attention, (*rows, *others))


def format_table(table: Row) -> str:
    """The table as aligned text: parameters in millions, multiply-adds in thousands of millions,
    and their shares.
    """
    width = 2 + max(len(row.name) + 2 * depth for row, depth in _walk(table))
    lines = [f'{"":{width}}{"parameters":>12}{"":8}{"multiply-adds":>15}{"":8}{"of them":>12}']
    lines.append(f'{"part":{width}}{"M":>12}{"share":>8}{"G":>15}{"share":>8}{"attention, G":>14}')
    for row, depth in _walk(table):
        name = '  ' * depth + row.name
        lines.append(
            f'{name:{width}}{row.parameters / 1e6:12.3f}{_share(row.parameters, table.parameters):>8}'
            f'{row.multiply_adds / 1e9:15.3f}{_share(row.multiply_adds, table.multiply_adds):>8}'
            f'{row.attention / 1e9:14.3f}'
        )
    return '\n'.join(lines)


def _walk(row: Row, depth: int = 0) -> Iterator[tuple[Row, int]]:
    yield row, depth
    for child in row.rows:
        yield from _walk(child, depth + 1)


def _share(part: int, whole: int) -> str:
    return f'{100 * part / whole:.1f}%' if whole else '-'
