# The small model from random initialisation on some hundred images; what each choice is worth:
# docs/studies.md. A config sets `radius`, the dataset, the scale and the length.
_base_ = ['../models/dn_detr_small.py', 'few_images.py']

model = {{_base_.few_images_model}}
