# The road from DETR to DAB-DETR on drawn shapes, station 0: DETR. Every next station adds one idea
# to the one before, and the last is DAB-DETR as in the paper, without the aids of the embedded
# default (grid of anchors, directed attention), but with an encoder layer. All that is none of the
# ideas stays: backbone, encoder, widths, recipe.
_base_ = ['../../_base_/road_shapes.py', '../../_base_/parts/road.py']
model = {{_base_.road_detr}}
