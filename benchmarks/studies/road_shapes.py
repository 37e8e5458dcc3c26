# The road from DETR to DAB-DETR and DN-DETR on drawn shapes: the configs of configs/mix/road.
page = 'docs/convergence.md'
about = 'Drawn shapes, 2,000 steps of 8 pictures, AP on 200 others.'
seeds = [0, 1, 2]
runs = {
    '0 DETR': dict(config='configs/mix/road/0_detr_shapes.py'),
    '1 + focal loss': dict(config='configs/mix/road/1_focal_loss_shapes.py'),
    '2 + conditional query': dict(config='configs/mix/road/2_conditional_query_shapes.py'),
    '3 + 2-D anchors': dict(config='configs/mix/road/3_points_shapes.py'),
    '4 + 4-D anchors': dict(config='configs/mix/road/4_boxes_shapes.py'),
    '5 + update': dict(config='configs/mix/road/5_update_shapes.py'),
    '6 + modulation': dict(config='configs/mix/road/6_modulation_shapes.py'),
    '7 + temperature 20': dict(config='configs/mix/road/7_temperature_shapes.py'),
    '8 + denoising': dict(config='configs/mix/road/8_denoising_shapes.py'),
}
# What the road leaves out: where anchors start.
grid = dict(_delete_=True, type='mmdet_dab.GridAnchors', size=0.4)
runs['7 with anchors on a grid'] = dict(
    config='configs/mix/road/7_temperature_shapes.py', options={'model.query_generator.initial_anchors': grid}
)
runs['8 with anchors on a grid'] = dict(
    config='configs/mix/road/8_denoising_shapes.py', options={'model.query_generator.generator.initial_anchors': grid}
)
options = {'train_cfg.val_interval': 400}
