# The small model from random initialisation on some hundred images; what each choice is worth:
# docs/studies.md. A config sets `radius`, the dataset, the scale and the length.
_base_ = ['../models/dn_detr_small.py', 'few_images.py']

model = dict(
    query_generator=dict(
        generator=dict(
            # Anchors all over the image, of the sizes of the training boxes, instead of N(0, 1)
            # before the sigmoid; the boxes are read when the training run starts.
            initial_anchors=dict(type='BoxAnchors'),
        ),
    ),
    decoder=dict(
        # Attention looks around the anchor from the first step, at half the size of an object.
        positional_query=dict(position_scale=dict(init_cfg=dict(type='UnitPositionScale'))),
        layer=dict(cross_attention=dict(init_cfg=dict(type='DirectedAttention', radius=0.1, gain=3.0))),
    ),
    # After a short training run some objects are still found twice.
    bbox_head=dict(selection=dict(duplicates=dict(type='MatrixNMS'))),
)
