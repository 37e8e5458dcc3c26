"""Runs that several studies have in common: the stations of the road from DETR, and where anchors
start.
"""

from __future__ import annotations

from typing import Any

STATIONS = {
    '0 DETR': '0_detr',
    '1 + focal loss': '1_focal_loss',
    '2 + conditional query': '2_conditional_query',
    '3 + 2-D anchors': '3_points',
    '4 + 4-D anchors': '4_boxes',
    '5 + update': '5_update',
    '6 + modulation': '6_modulation',
    '7 + temperature 20': '7_temperature',
    '8 + denoising': '8_denoising',
    # What the road leaves out: where anchors start.
    '7 with anchors on a grid': '7_temperature',
    '8 with anchors on a grid': '8_denoising',
}

#: Options for a station of the road: content is told its anchor.
TOLD = {'model.query_generator.type': 'AnchorContentQueryGenerator'}


def stations(size: float | tuple[float, float], num_queries: int) -> dict[str, dict]:
    """The configs of ``configs/mix/road``, and their last two with anchors of one size on a grid.

    Args:
        size: width and height of those anchors, in parts of the image.
        num_queries: of every station.
    """
    runs = {}
    for name, station in STATIONS.items():
        generator, options = 'model.query_generator', dict[str, Any]()
        if name.startswith('8'):
            generator += '.generator'
        options[f'{generator}.num_queries'] = num_queries
        if name.endswith('on a grid'):
            options[f'{generator}.initial_anchors'] = dict(type='GridAnchors', size=size, _delete_=True)
        runs[name] = dict(config=f'configs/mix/road/{station}_shapes.py', options=options)
    return runs


def blood_cells(scale: tuple[int, int], steps: int) -> dict[str, Any]:
    """Options for a station of the road: the data of ``configs/custom/bccd_r18_c4_55e.py``.

    Args:
        scale: width and height that images are fitted into.
        steps: of the training run.
    """
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    resize = dict(type='Resize', scale=scale, keep_ratio=True)
    flip = dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    cells = dict(
        type='CocoDataset',
        data_root='data/bccd/',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
        _delete_=True,
    )
    return {
        'model.num_classes': 3,
        'model.bbox_head.selection.max_per_img': 100,
        'train_dataloader.dataset': dict(
            cells,
            ann_file='annotations/train.json',
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[*load, resize, flip, dict(type='PackDetInputs')],
        ),
        'train_dataloader.sampler.shuffle': True,
        'val_dataloader.dataset': dict(
            cells,
            ann_file='annotations/val.json',
            test_mode=True,
            pipeline=[load[0], resize, load[1], dict(type='PackDetInputs', meta_keys=keys)],
        ),
        'val_evaluator.ann_file': 'data/bccd/annotations/val.json',
        'train_cfg.max_iters': steps,
        'train_cfg.val_interval': steps // 2,
        'param_scheduler.1.end': steps,
    }


def directed(radius: float) -> dict[str, Any]:
    """Options for a station of the road: attention looks around the anchor from the first step.

    Args:
        radius: half the size of an object, in parts of the image.
    """
    return {
        'model.decoder.positional_query.position_scale.init_cfg': dict(type='UnitPositionScale'),
        'model.decoder.layer.cross_attention.init_cfg': dict(type='DirectedAttention', radius=radius),
    }


def initial_anchors(config: str, generator: str, size: float | tuple[float, float]) -> dict[str, dict]:
    """One config with each strategy for its anchors.

    ``BoxAnchors`` gets the boxes of the training images.

    Args:
        config: its file.
        generator: where in it the query generator stands, e.g. ``model.query_generator``.
        size: width and height of uniform anchors, in parts of the image.
    """
    strategies = {
        'N(0, 1), as released': dict(type='NormalAnchors'),
        'uniform, one size': dict(type='UniformAnchors', size=size),
        'grid, mean size of the boxes': dict(type='BoxAnchors'),
        'grid, six sizes of the boxes': dict(type='BoxAnchors', num_sizes=6),
        'boxes': dict(type='BoxAnchors', centers='data'),
    }
    return {
        name: dict(config=config, options={f'{generator}.initial_anchors': dict(strategy, _delete_=True)})
        for name, strategy in strategies.items()
    }
