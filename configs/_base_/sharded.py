"""Weights, gradients and optimizer state divided among the processes, for large backbones.

A base beside that of a detector: ``['dab_detr_swin_b_50e.py', '_base_/sharded.py']``.
"""

runner_type = 'FlexibleRunner'
strategy = dict(type='mmdet_dab.engine.sharding.ShardedStrategy')
