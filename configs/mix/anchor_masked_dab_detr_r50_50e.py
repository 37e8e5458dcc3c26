# DAB-DETR whose queries look only inside their anchors from the second layer on, after DE-DETR
# (arXiv:2203.09507) and Cascade-DETR (arXiv:2307.11035): for few images. Not measured on COCO.
_base_ = '../dab_detr_r50_50e.py'

model = dict(
    decoder=dict(
        layer=dict(cross_attention=dict(type='AnchorMaskedCrossAttention')),
        first_layer=dict(cross_attention=dict(type='AnchorMaskedCrossAttention', reach=None)),
    ),
)
