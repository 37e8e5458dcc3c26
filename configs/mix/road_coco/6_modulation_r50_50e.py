# + modulation: w and h of the anchor widen or narrow its attention.
_base_ = '5_update_r50_50e.py'
model = {{_base_.road_modulation}}
