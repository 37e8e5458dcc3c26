# A third of the queries: a third of the decoder's memory, for images with fewer objects than
# COCO's.
_base_ = '../dab_detr_r50_dc5_50e.py'
model = dict(query_generator=dict(num_queries=100), bbox_head=dict(selection=dict(max_per_img=100)))
