# The whole recipe for little data, on blood cells: 25 minutes of one core, and of both.
page = 'docs/studies.md'
about = (
    'Blood cells (BCCD) at 256 × 192 pixels, AP on the 87 images of val: 55 epochs (2,860 steps of 4 images), on '
    'two cores 66 (3,432 steps). One core is timed by what its CPU spent, two by the clock; validation is not counted.'
)
seeds = [0, 1, 2]
config = 'configs/custom/bccd_r18_c4_55e.py'
longer = {'train_cfg.max_epochs': 66, 'param_scheduler.1.end': 66}
runs = {
    'blood cells': dict(config=config, keep_checkpoint=True),
    'blood cells, two cores, 66 epochs': dict(config=config, options=longer, threads=2),
}
options = {}
