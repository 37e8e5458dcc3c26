# Whole training runs from ImageNet, for 10 minutes (cards) and 25 (cells) of one core.
from dataclasses import replace

from benchmarks.starts import CARDS, CELLS, FOCAL, in_epochs

page = 'docs/studies.md'
about = (
    'Photographs of playing cards at 224 × 224 pixels, AP on the 67 to test; blood cells (BCCD) at 256 × 192, AP on '
    'the 87 images of val. CPU time of one core. The runs of so many epochs have the focal loss and float32.'
)
seeds = [0, 1, 2]
recipe = 'configs/_base_/recipes/from_imagenet.py'
cards = replace(CARDS, scale=(224, 224), learning_rate=5e-4)
directions = dict(prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
cells = replace(CELLS, radius=0.09, flip=directions, sliver=4)
focal = {'model.bbox_head.loss_cls': FOCAL}
bfloat16 = {'optim_wrapper.type': 'CPUAmpOptimWrapper'}


def of_time(dataset, minutes):
    return dict(config=recipe, minutes=minutes, options={**dataset.options(), **bfloat16})


large, fast = replace(cells, radius=0.094, sliver=2, scale=(320, 240)), replace(cells, radius=0.094, sliver=2)
runs = {
    'playing cards, 31 epochs': dict(config=recipe, options={**cards.options(), **in_epochs(31, 5), **focal}),
    'playing cards, 10 minutes, matchability loss, bfloat16, learning rate 8e-4': of_time(
        replace(cards, learning_rate=8e-4), 10
    ),
    'playing cards, 10 minutes, the same at 176 × 192 pixels': of_time(replace(CARDS, learning_rate=8e-4), 10),
    'blood cells, 55 epochs': dict(config=recipe, options={**cells.options(), **in_epochs(55, 11), **focal}),
    'blood cells, 25 minutes, matchability loss, bfloat16, 320 × 240 pixels': of_time(large, 25),
    'blood cells, 25 minutes, matchability loss, bfloat16, learning rate 2e-3': of_time(
        replace(fast, learning_rate=2e-3), 25
    ),
}
