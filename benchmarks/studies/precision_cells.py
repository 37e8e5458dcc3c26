# Does bfloat16 cost AP? The recipe from ImageNet in both precisions, with equal steps.
from benchmarks.starts import BFLOAT16, CELLS

page = 'docs/studies.md'
about = 'Blood cells (BCCD) at 256 × 192 pixels, 300 steps of 4 images, AP on the 87 images of val.'
seeds = [0, 1, 2]
steps = 300
recipe = dict(config='configs/_base_/recipes/from_imagenet.py', options=CELLS.options())
runs = {'float32': recipe, 'bfloat16': dict(recipe, options={**recipe['options'], **BFLOAT16})}
