# Why 4-D anchors cost AP on the road over drawn shapes: one cause at a time.
page = 'docs/convergence.md'
about = (
    'Drawn shapes, AP on 200 others. 2,000 steps of 8 images unless the row says 8,000. Uniform centres instead of '
    'N(0, 1) in four rows, so that sizes alone differ.'
)
seeds = [0, 1, 2]
points, boxes, dab = (f'configs/mix/road/{name}_shapes.py' for name in ('3_points', '4_boxes', '7_temperature'))
queries = {'model.query_generator.num_queries': 16}
told = {'model.query_generator.learned_content': True}
long = {'train_cfg.max_iters': 8000, 'param_scheduler.1.end': 8000}
frozen = {'optim_wrapper.paramwise_cfg.custom_keys': {'query_generator.sizes': dict(lr_mult=0.0, decay_mult=0.0)}}


def start(size):
    """Uniform centres; sizes N(0, 1) for None."""
    return {'model.query_generator.initial_anchors': dict(type='UniformAnchors', size=size, _delete_=True)}


runs = {
    '2-D anchors': dict(config=points, options=queries),
    '4-D anchors': dict(config=boxes, options=queries),
    '4-D anchors, a content for each': dict(config=boxes, options={**queries, **told}),
    '2-D anchors, a content for each': dict(config=points, options={**queries, **told}),
    'DAB-DETR': dict(config=dab, options=queries),
    'DAB-DETR, a content for each': dict(config=dab, options={**queries, **told}),
    '4-D, uniform centres': dict(config=boxes, options={**queries, **start(None)}),
    '4-D, uniform centres, one size': dict(config=boxes, options={**queries, **start(0.4)}),
    '4-D, uniform centres, one size, frozen': dict(config=boxes, options={**queries, **start(0.4), **frozen}),
    '2-D anchors, 8,000 steps': dict(config=points, options={**queries, **long}),
    '4-D anchors, 8,000 steps': dict(config=boxes, options={**queries, **long}),
    'DAB-DETR, 8,000 steps': dict(config=dab, options={**queries, **long}),
}
options = {'train_cfg.val_interval': 500}
