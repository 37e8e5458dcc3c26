"""What a detector looks at: recordings of its attention, its anchors and its answers, layer by
layer."""

from mmdet_dab.explain.attentions import DotAttention, PointAttention
from mmdet_dab.explain.recording import Recording, load_batch, record, record_batch

__all__ = ['DotAttention', 'PointAttention', 'Recording', 'load_batch', 'record', 'record_batch']
