"""The config that is written: the data, the numbers to tune, and where they act.

All that does not depend on the data is in ``configs/_base_/recipes/``; whoever finds a better
recipe changes those, or the lines here.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mmdet_dab.config_files import CONFIGS
from mmdet_dab.data.base_model import BaseModel
from mmdet_dab.data.data_paths import DataPaths, way_from
from mmdet_dab.data.palette import palette
from mmdet_dab.data.recipe import Recipe

#: Columns of code, and of comments.
LINE, PROSE = 118, 100

#: Of a base with `_base_/recipes/few_images.py` in it, which names the steps of the pipelines.
SMALL_PIPELINES = """\
resizing = dict(type='Resize', scale=scale, keep_ratio=False)
train_pipeline = [
    {{_base_.load_image}},
    {{_base_.load_boxes}},
    {{_base_.crop_half}},
    resizing,
    {{_base_.flip}},
    {{_base_.drop_slivers}},
    {{_base_.pack}},
]
test_pipeline = [{{_base_.load_image}}, resizing, {{_base_.load_boxes}}, {{_base_.pack_test}}]
"""
#: Of a model that knows COCO, whose scales it keeps.
COCO_PIPELINES = """\
train_scales = [(side, 1333) for side in range(480, 801, 32)]  # those of the checkpoint
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
"""


def config_text(
    path: Path,
    configs: Path,
    paths: DataPaths,
    classes: Sequence[str],
    recipe: Recipe,
    base: BaseModel,
    seen: Sequence[str],
) -> str:
    """A whole config.

    Args:
        path: where it will be written.
        configs: the folder of the project's configs; the package's own are named ``mmdet_dab::``.
        paths: of the data.
        classes: in the order of labels.
        recipe: the numbers.
        base: the configs to build on, and where the weights come from.
        seen: lines about the data.
    """
    bases = [literal(name) for name in _bases(path, configs, base.bases)]
    return '\n'.join(
        [
            comment(f'{path.stem}: written by mmdet-dab new-data, yours to edit from here on.'),
            *map(comment, seen),
            _harmless(f'#   mmdet-dab train {shlex.quote(path.as_posix())}'),
            f'_base_ = {bases[0]}' if len(bases) == 1 else f'_base_ = [{", ".join(bases)}]',
            '',
            _data(paths, classes),
            _tuning(recipe, base),
            _model(recipe, base),
            SMALL_PIPELINES.rstrip() if base.small else COCO_PIPELINES.rstrip(),
            _loading(recipe, base),
            _schedule(recipe, base),
        ]
    )


def _bases(path: Path, configs: Path, names: Sequence[str]) -> list[str]:
    """The bases as ``path`` names them: by the package where it brings them, so that it can move."""
    if configs.resolve() == CONFIGS.resolve():
        return [f'mmdet_dab::{name}' for name in names]
    folder = way_from(path.resolve().parent, configs.resolve())
    return [f'{folder}/{name}' for name in names]


def literal(value: object) -> str:
    """A value as Python writes it, but without ``{{``, which mmengine takes for a variable."""
    text = repr(value)
    return text.replace('{', '\\x7b') if '{{' in text else text


def comment(text: str, depth: int = 0) -> str:
    """Sentences behind # signs, wrapped for where they will be indented by ``depth``."""
    return '\n'.join(f'# {line}' for line in textwrap.wrap(_harmless(text), PROSE - 2 - depth))


def _harmless(text: str) -> str:
    """The same without what would end a comment or be taken for a variable."""
    return ''.join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text).replace('{{', '{ {')


def _data(paths: DataPaths, classes: Sequence[str]) -> str:
    def path(inside: bool, name: str) -> str:
        return f'data_root + {literal(name)}' if inside and name else 'data_root' if inside else literal(name)

    return f"""\
# --- Your data. Relative paths count from the folder in which the training run is started ---------------
data_root = {literal(paths.root)}
train_images, val_images = {path(*paths.train_images)}, {path(*paths.val_images)}
train_annotations = {path(*paths.train_annotations)}
val_annotations = {path(*paths.val_annotations)}
metainfo = dict(
    # The order is that of the annotation file's categories, by which mmdet numbers the labels.
    classes={_sequence(classes, '()', '    ')}
    palette={_sequence(palette(len(classes)), '[]', '    ')}
)
"""


def _sequence(items: Sequence[object], brackets: str, indent: str) -> str:
    """A tuple or list on one line where it fits, else on as many as it needs."""
    literals = [literal(item) for item in items]
    line = f'{brackets[0]}{", ".join(literals)}{"," if len(items) == 1 else ""}{brackets[1]},'
    if len(line) + len(indent) + len('classes=') <= LINE:
        return line
    return '\n'.join([brackets[0], *(f'{indent}    {item},' for item in literals), f'{indent}{brackets[1]},'])


def _tuning(recipe: Recipe, base: BaseModel) -> str:
    load = f'{comment(f"The start. {base.why}")}\n' if base.why else ''
    way = 'fitted into' if recipe.resizing.keep_ratio else 'squeezed to'
    if base.checkpoint is not None:
        known = f'; it knows {len(base.known)} of the classes: {", ".join(base.known)}' if base.known else ''
        load += f'{comment(f"The weights to start from{known}.")}\nload_from = {literal(base.checkpoint)}\n'
    return f"""\
# --- What you may want to tune, and what it was chosen by -------------------------------------------------
{load}\
{comment(recipe.reasons['epochs'])}
max_epochs = {recipe.max_epochs}
batch_size = {recipe.batch_size}
{comment(recipe.reasons['learning_rate'])}
learning_rate = {recipe.learning_rate:g}
{comment(f'Images are {way} this. ' + recipe.reasons['scale'])}
scale = {recipe.resizing.scale}
{comment(recipe.reasons['queries'])}
num_queries = {recipe.num_queries}

# --- Where these values act ---------------------------------------------------------------------------------"""


def _model(recipe: Recipe, base: BaseModel) -> str:
    queries = ['num_queries=num_queries,']
    parts = []
    if base.checkpoint is None:
        queries.append(comment(f'Anchors start on a grid, {recipe.reasons["anchors"]}.', depth=12))
        if recipe.num_anchor_sizes > 1:
            queries.append(f'initial_anchors=dict(num_sizes={recipe.num_anchor_sizes}),')
        width, height = recipe.anchor_size
        parts = [
            comment(f'Half the size of the median object, which is {width:g} wide and {height:g} high, in fractions of '
                    'its image.', depth=4),
            f'decoder=dict(layer=dict(cross_attention=dict(init_cfg=dict(radius={_radius(recipe):g})))),',
        ]  # fmt: skip
    else:
        parts = ['backbone=dict(init_cfg=None),  # the checkpoint has its weights, too']
        if recipe.num_queries != base.num_queries:
            sizes = '' if recipe.num_anchor_sizes == 1 else f', num_sizes={recipe.num_anchor_sizes}'
            queries += [
                comment(f'The checkpoint has {base.num_queries}, too few: anchors start afresh.', depth=12),
                f"initial_anchors=dict(_delete_=True, type='BoxAnchors'{sizes}),",
            ]
    lines = [
        "num_classes=len(metainfo['classes']),",
        *_query_generator(queries, denoising=base.denoising),
        *parts,
        f'bbox_head=dict(selection=dict(max_per_img={recipe.max_per_img})),',
    ]
    return f'model = dict(\n{textwrap.indent(chr(10).join(lines), "    ")}\n)'


def _radius(recipe: Recipe) -> float:
    width, height = recipe.anchor_size
    return float(f'{(width * height) ** 0.5 / 2:.2g}')


def _query_generator(settings: Sequence[str], *, denoising: bool) -> list[str]:
    """The entry of the query generator; with denoising the one that has the anchors is inside."""
    if len(settings) == 1:
        inner = settings[0].rstrip(',')
        return [f'query_generator=dict({f"generator=dict({inner})" if denoising else inner}),']
    lines = textwrap.indent('\n'.join(settings), '    ')
    if denoising:
        lines = textwrap.indent(f'generator=dict(\n{lines}\n),', '    ')
    return [f'query_generator=dict(\n{lines}\n),']


def _loading(recipe: Recipe, base: BaseModel) -> str:
    root = '' if base.small else "        data_root='',\n"
    small_objects = '' if base.small else '        filter_cfg=dict(min_size=0),\n'

    def loader(split: str, pipeline: str, more: str) -> str:
        return f"""\
{split}_dataloader = dict(
    batch_size=batch_size,
    num_workers={recipe.num_workers},
    dataset=dict(
{root}\
        metainfo=metainfo,
        ann_file={split}_annotations,
        data_prefix=dict(img={split}_images),
{more}\
        pipeline={pipeline}_pipeline,
    ),
)
"""

    return f"""\
{loader('train', 'train', small_objects)}{loader('val', 'test', '')}\
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=val_annotations)
test_evaluator = val_evaluator
"""


def _schedule(recipe: Recipe, base: BaseModel) -> str:
    averaging = f'ema=dict(momentum={recipe.ema_momentum:g}),'
    visualization = ''
    if not base.small:
        averaging = f"ema=dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum={recipe.ema_momentum:g}, gamma=200),"
        visualization = '    visualization=dict(interval=20),\n'
    precision, wrapper = '', ''
    if recipe.bfloat16:
        why = 'This machine is faster in bfloat16. Leave the type out where there is a GPU, or an older CPU.'
        precision, wrapper = f'{comment(why)}\n', "type='CPUAmpOptimWrapper', "
    return f"""\
train_cfg = dict(max_epochs=max_epochs, val_interval={recipe.val_interval})
{precision}optim_wrapper = dict({wrapper}optimizer=dict(lr=learning_rate))
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
{visualization}\
    # The average of the weights reaches back over a sixth of the steps.
    {averaging}
)
"""
