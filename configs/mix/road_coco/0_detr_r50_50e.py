# The road from DETR to DAB-DETR on COCO, station 0: DETR. Every next station adds one idea to the
# one before, and the last is DAB-DETR as in the paper. All that is none of the ideas is DAB-DETR's
# from the start and stays: backbone, encoder, widths, activation, number of queries, dropout,
# recipe.
_base_ = ['../../dab_detr_r50_50e.py', '../../_base_/parts/road.py']
model = {{_base_.road_detr}}
