# Whole training runs from ImageNet, for 10 minutes (cards) and 25 (cells) of one core.
from dataclasses import replace

from benchmarks.starts import CARDS, CELLS, FOCAL, in_epochs

page = 'docs/studies.md'
about = (
    'Photographs of playing cards at 224 × 224 pixels, AP on the 67 to test; blood cells (BCCD) at 256 × 192, AP on '
    'the 87 images of val. CPU time of one core. Trained with these settings before this study was written.'
)
seeds = [0, 1, 2]
recipe = 'configs/_base_/recipes/from_imagenet.py'
cards = replace(CARDS, scale=(224, 224), learning_rate=5e-4)
directions = dict(prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
cells = replace(CELLS, radius=0.09, flip=directions, sliver=4)
runs = {
    'playing cards, 31 epochs': dict(config=recipe, options={**cards.options(), **in_epochs(31, 5)}),
    'blood cells, 55 epochs': dict(config=recipe, options={**cells.options(), **in_epochs(55, 11)}),
}
options = {'model.bbox_head.loss_cls': FOCAL}
