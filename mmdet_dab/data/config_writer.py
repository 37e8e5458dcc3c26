"""The config that is written. Whoever finds a better recipe changes the lines here, and nowhere else."""

from __future__ import annotations

import colorsys
import os
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdet_dab.data.base_model import Start
from mmdet_dab.data.recipe import EMA_WARM_UP, Recipe

LINE = 118
#: Colours that are told apart on most pictures; more are made as they are needed.
COLOURS = (
    (230, 60, 60),
    (60, 100, 230),
    (240, 180, 40),
    (40, 180, 90),
    (170, 70, 200),
    (30, 190, 200),
    (240, 120, 40),
    (230, 90, 170),
)

#: Of the small model's training: batch norm, which learns from scratch, would take padding for picture.
CROP_AND_SQUEEZE = """\
    # Half of the pictures are parts of one. They are squeezed to the same size, not padded to it: batch norm, which
    # learns from scratch, would take padding for picture.
    dict(
        type='RandomApply',
        transforms=[dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.7, 0.7))],
        prob=0.5,
    ),
    dict(type='Resize', scale=scale, keep_ratio=False),
"""
SLIVERS = """\
    # What is left of objects at the border, if next to nothing, is left out.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False),
"""


@dataclass(frozen=True)
class DataPaths:
    """Where the data lies: ``root`` as a training finds it, the others below it or whole; folders end with a slash."""

    root: str
    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str


def data_paths(train: tuple[Path, Path], val: tuple[Path, Path], *, absolute: bool) -> DataPaths:
    """Common folder and what lies below it, counted from the current folder unless ``absolute``.

    Args:
        train: annotation file and folder of pictures.
        val: the same.
        absolute: also where the folder could be named from the current one.

    Returns:
        where nothing is in common, the folder that holds that of the training's pictures, and whole paths of the rest.
    """
    paths = [Path(os.path.abspath(path)) for path in (*train, *val)]  # a link stays the name that the user knows
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    if root == Path(root.anchor):
        root = paths[1].parent
    shown = root.as_posix() if absolute else Path(os.path.relpath(root)).as_posix()
    below = [(path.relative_to(root) if path.is_relative_to(root) else path).as_posix() for path in paths]
    folders = ['' if name == '.' else f'{name}/' for name in (below[1], below[3])]
    return DataPaths(f'{shown.rstrip("/")}/', below[0], folders[0], below[2], folders[1])


def palette(number: int) -> list[tuple[int, int, int]]:
    """As many colours (RGB, 0..255) as there are classes."""
    colours = list(COLOURS[:number])
    while len(colours) < number:
        hue = len(colours) * 0.618034 % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (len(colours) % 2), 0.9)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def config_text(
    path: Path,
    configs: Path,
    paths: DataPaths,
    classes: Sequence[str],
    recipe: Recipe,
    start: Start,
    seen: Sequence[str],
) -> str:
    """A whole config.

    Args:
        path: where it will be written; ``_base_`` counts from there.
        configs: the repository's ``configs/``.
        paths: of the data.
        classes: in the order of labels.
        recipe: the figures.
        start: what to start from.
        seen: lines about the data.
    """
    folder = way_from(path.resolve().parent, configs.resolve())
    lines = [
        f'# {path.stem}: written by tools/new_dataset.py, yours to edit from here on.',
        *(f'# {line}' for line in seen),
        f'#   python tools/train.py {shlex.quote(path.as_posix())}',
        "# The paths of _base_ count from this file's folder: mend them when the file moves.",
        '_base_ = [',
        *(f"    '{folder}/{base}'," for base in start.bases),
        ']',
        '',
        _data(paths, classes),
        _tuning(recipe, start),
        _scratch_model(recipe) if start.checkpoint is None else _checkpoint_model(recipe, start),
        _rest(recipe, start, paths),
    ]
    return '\n'.join(lines)


def way_from(here: Path, there: Path) -> str:
    """The way from a folder to another one; the whole path where they have nothing in common."""
    together = Path(os.path.commonpath([here, there]))
    return (there if together == Path(together.anchor) else Path(os.path.relpath(there, here))).as_posix()


def _data(paths: DataPaths, classes: Sequence[str]) -> str:
    return f"""\
# --- Your data. data_root counts from the folder in which tools/train.py is started ----------------------
data_root = {paths.root!r}
metainfo = dict(
    # The order is that of the annotation file's categories, by which mmdet numbers the labels.
    classes={_sequence(classes, '()', '    ')}
    palette={_sequence(palette(len(classes)), '[]', '    ')}
)
train_annotations, train_images = {paths.train_annotations!r}, {paths.train_images!r}
val_annotations, val_images = {paths.val_annotations!r}, {paths.val_images!r}
train_dataset = dict(
    type='CocoDataset',
    data_root=data_root,
    metainfo=metainfo,
    ann_file=train_annotations,
    data_prefix=dict(img=train_images),
    filter_cfg=dict(filter_empty_gt=True, min_size=0),
)
"""


def _sequence(items: Sequence[object], brackets: str, indent: str) -> str:
    """A tuple or list on one line where it fits, else on as many as it needs; with a comma behind each item."""
    line = f'{brackets[0]}{", ".join(map(repr, items))}{"," if len(items) == 1 else ""}{brackets[1]},'
    if len(line) + len(indent) + len('classes=') <= LINE:
        return line
    rows = [f'{indent}    {item!r},' for item in items]
    return '\n'.join([brackets[0], *rows, f'{indent}{brackets[1]},'])


def _comment(text: str, depth: int = 0) -> str:
    """Sentences behind # signs, on as many lines as they need where they will be indented by ``depth``."""
    return '\n'.join(f'# {line}' for line in textwrap.wrap(text, LINE - 2 - depth))


def _tuning(recipe: Recipe, start: Start) -> str:
    load = ''
    way = 'fitted into' if recipe.resizing.keep_ratio else 'squeezed to'
    if start.checkpoint is not None:
        known = f'; it knows {len(start.known)} of the classes: {", ".join(start.known)}' if start.known else ''
        load = f'{_comment(f"The weights to start from{known}.")}\nload_from = {start.checkpoint.as_posix()!r}\n'
    return f"""\
# --- What you may want to tune, and what it was chosen by -------------------------------------------------
{load}\
{_comment(recipe.reasons['epochs'])}
max_epochs = {recipe.max_epochs}
batch_size = {recipe.batch_size}
{_comment(recipe.reasons['learning_rate'])}
learning_rate = {recipe.learning_rate:g}
{_comment(f'Pictures are {way} this. ' + recipe.reasons['scale'])}
scale = {recipe.resizing.scale}
{_comment(recipe.reasons['queries'])}
num_queries = {recipe.num_queries}
"""


def _scratch_model(recipe: Recipe) -> str:
    width, height = recipe.anchor_size
    radius = float(f'{(width * height) ** 0.5 / 2:.2g}')
    directed = f"type='mmdet_dab.DirectedAttention', radius={radius:g}, gain=3.0"
    comment = _comment(
        f'Anchors on a grid all over the picture, {recipe.reasons["anchors"]} (5th to 95th percentile); they are '
        f'read when the training starts. The median object is {width:g} wide and {height:g} high, in parts of its '
        'picture.',
        depth=12,
    )
    queries = f"""\
num_queries=num_queries,
{comment}
initial_anchors={_box_anchors(recipe)},
"""
    return f"""\
model = dict(
{_query_generator(queries, denoising=True)}\
    decoder=dict(
        # Attention looks around the anchor from the first step: at half the size of the median object.
        positional_query=dict(init_cfg=dict(type='mmdet_dab.UnitPositionScale')),
        layer=dict(cross_attention=dict(init_cfg=dict({directed}))),
    ),
    bbox_head=dict(
        num_classes=len(metainfo['classes']),
        max_per_img={recipe.max_per_img},
        # After a short training some objects are still found twice.
        duplicates=dict(type='mmdet_dab.MatrixNMS', sigma=0.5),
    ),
)
"""


def _box_anchors(recipe: Recipe) -> str:
    sizes = '' if recipe.num_anchor_sizes == 1 else f', num_sizes={recipe.num_anchor_sizes}'
    return f"dict(type='mmdet_dab.BoxAnchors', dataset=train_dataset{sizes})"


def _query_generator(settings: str, *, denoising: bool) -> str:
    """The entry of the query generator; with denoising the one that has the anchors is inside."""
    if not denoising:
        return f'    query_generator=dict(\n{textwrap.indent(settings, " " * 8)}    ),\n'
    return f"""\
    query_generator=dict(
        num_classes=len(metainfo['classes']),
        generator=dict(
{textwrap.indent(settings, ' ' * 12)}\
        ),
    ),
"""


def _checkpoint_model(recipe: Recipe, start: Start) -> str:
    anchors = "# The checkpoint's anchors are learned already.\n"
    if recipe.num_queries != start.num_queries:
        anchors = (
            f'# The checkpoint has {start.num_queries}, too few: they start afresh.\n'
            f'initial_anchors={_box_anchors(recipe)},\n'
        )
    settings = f'{anchors}num_queries=num_queries,\n'
    return f"""\
model = dict(
    backbone=dict(init_cfg=None),  # the checkpoint has its weights, too
{_query_generator(settings, denoising=start.denoising)}\
    bbox_head=dict(num_classes=len(metainfo['classes']), max_per_img={recipe.max_per_img}),
)
"""


def _rest(recipe: Recipe, start: Start, paths: DataPaths) -> str:
    truth = 'val_annotations' if Path(paths.val_annotations).is_absolute() else 'data_root + val_annotations'
    sizes, resize, slivers = '', CROP_AND_SQUEEZE, SLIVERS
    if not start.small:
        sizes = 'train_scales = [(side, 1333) for side in range(480, 801, 32)]  # those of the checkpoint\n'
        resize, slivers = "    dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True),\n", ''
    backbone = (
        '    # The backbone knows nothing of ImageNet, and learns as fast as the rest.\n'
        "    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),\n"
    )
    return f"""\
# --- What you need not touch -------------------------------------------------------------------------------
{sizes}\
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
{resize}\
    dict(type='RandomFlip', prob=0.5),
{slivers}\
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio={recipe.resizing.keep_ratio}),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers={recipe.num_workers},
    dataset=dict(train_dataset, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers={recipe.num_workers},
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file=val_annotations,
        data_prefix=dict(img=val_images),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={truth})
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval={recipe.val_interval})
optim_wrapper = dict(
    optimizer=dict(lr=learning_rate, fused=True),
{backbone if start.small else ''}\
)
param_scheduler = [
    # Warm-up, in steps.
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end={recipe.warm_up}),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, eta_min_ratio=0.01, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(
    checkpoint=dict(interval={recipe.val_interval}),
    visualization=dict(interval=20),
    # Validated and kept is an average of the weights over the last steps, which is better than the last ones.
    ema=dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum={recipe.ema_momentum:g}, gamma={EMA_WARM_UP}),
)
"""
