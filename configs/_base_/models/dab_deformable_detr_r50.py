# DAB-Deformable-DETR: the decoder is deformable, too. Its queries look at points around their
# anchors.
_base_ = 'dab_detr_deformable_encoder_r50.py'

model = dict(
    positional_encoder={{_base_.deformable_encoding}},
    query_generator={{_base_.deformable_queries}},
    decoder={{_base_.replace_deformable_decoder}},
    bbox_head={{_base_.deformable_head}},
)
