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
