# Why 4-D anchors cost AP on the road over drawn shapes: one cause at a time. What they are compared
# with, the stations as they are, is road_shapes.
from benchmarks.variants import TOLD, directed

page = 'docs/convergence.md'
about = (
    'Drawn shapes, 2,000 steps of 8 images unless the row says more, AP on 200 others. Station 4 has N(0, 1) centres '
    'and sizes, 16 queries.'
)
seeds = [0, 1, 2]
boxes, dab = (f'configs/mix/road/{name}_shapes.py' for name in ('4_boxes', '7_temperature'))
queries = {'model.query_generator.num_queries': 16}
content = {'model.query_generator.learned_content': True}
centres = {'model.bbox_head.type': 'CentresOnlyHead'}
frozen = {'optim_wrapper.paramwise_cfg.custom_keys': {'query_generator.sizes': dict(lr_mult=0.0, decay_mult=0.0)}}
long = {'train_cfg.max_iters': 6000, 'param_scheduler.1.end': 6000}
around = directed(0.16)


def start(kind, size):
    """Anchors of one size; of N(0, 1) sizes for None."""
    return {'model.query_generator.initial_anchors': dict(type=kind, size=size, _delete_=True)}


runs = {
    name: dict(config=config, options={**queries, **options})
    for name, config, options in (
        ('4, uniform centres', boxes, start('UniformAnchors', None)),
        ('4, uniform centres, one size', boxes, start('UniformAnchors', 0.4)),
        ('4, uniform centres, one size, frozen', boxes, {**start('UniformAnchors', 0.4), **frozen}),
        ('4, one size', boxes, start('NormalCentres', 0.4)),
        ('4, boxes measured from centres alone', boxes, centres),
        (
            '4, uniform centres, one size, boxes measured from centres alone',
            boxes,
            {**start('UniformAnchors', 0.4), **centres},
        ),
        ('4, content told its anchor', boxes, TOLD),
        ('4, a learned content for each anchor', boxes, content),
        ('4, 6,000 steps', boxes, long),
        ('7, boxes measured from centres alone', dab, centres),
        ('7, content told its anchor', dab, TOLD),
        ('7, directed attention', dab, around),
        ('7, directed attention, anchors on a grid', dab, {**around, **start('GridAnchors', 0.4)}),
    )
}
options = {'train_cfg.val_interval': 1000}
