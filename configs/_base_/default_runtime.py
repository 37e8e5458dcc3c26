"""What every training shares: hooks, logs, checkpoints and images."""

default_scope = 'mmdet'
# Without this line a broken import of mmdet_dab surfaces as "not in the registry".
custom_imports = dict(imports=['mmdet_dab'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=3, save_best='coco/bbox_mAP', rule='greater'),
    # What comes from a checkpoint is data, and of this training run.
    resume=dict(type='ResumeHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Ground truth left, prediction right: about ten images for a validation on COCO; lower it for a
    # smaller set.
    visualization=dict(type='DetVisualizationHook', draw=True, interval=500, score_thr=0.3),
    # Anchors of the training boxes' sizes, where the model has type='BoxAnchors'.
    anchors_from_data=dict(type='AnchorsFromDataHook'),
    # How far the anchors have moved, for `mmdet-dab curves`.
    anchor_drift=dict(type='AnchorDriftHook'),
    # A loss or gradient that is no number stops the training before the weights have it; stop=False
    # only warns.
    not_finite=dict(type='NotFiniteHook'),
    # Of several processes, names the one that is lost, or that the others wait for.
    processes=dict(type='ProcessWatchHook'),
    # Says what is wrong when it does not learn; steps=0 switches it off.
    training_watch=dict(type='TrainingWatchHook', steps=500),
)

# A number of classes that does not fit the dataset is an error at the start, not an AP of 0.
custom_hooks = [
    dict(type='NumClassCheckHook'),
    # `load_from` a checkpoint with other classes: those of the same name keep their rows.
    dict(type='FineTuningHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # the tools switch to gloo where there is no GPU
)
randomness = dict(seed=0)

vis_backends = [
    dict(type='LocalVisBackend'),
    # dict(type='TensorboardVisBackend'),
]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'

load_from = None
resume = False
