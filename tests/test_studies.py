"""Studies: each run can be trained, finished runs are kept, and tables agree with the curves."""

import json
import os
import re

import pytest
import torch
from matplotlib import pyplot
from mmdet.registry import TRANSFORMS

from benchmarks import training
from benchmarks.training import Study, at, machines, same_steps, slug, spread, table, take
from mmdet_dab.data.trial import Speed
from mmdet_dab.errors import UserError
from mmdet_dab.registry import MODELS

STUDIES = sorted(path.stem for path in training.STUDIES.glob('*.py'))
RUNS = [(name, run) for name in STUDIES for run in Study(name).runs]
TINY = """
page = 'page.md'
about = 'Three steps.'
seeds = [0, 1]
runs = {'one': dict(config='configs/shapes/dab_detr_shapes_5min.py'), 'two': dict(config='', options={})}
options = {
    'train_cfg.max_iters': 3,
    'train_cfg.val_interval': 2,
    'param_scheduler.0.end': 1,
    'param_scheduler.1.begin': 1,
    'param_scheduler.1.end': 3,
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.num_images': 4,
}
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of a few steps, with folders of its own."""
    (tmp_path / 'tiny.py').write_text(TINY)
    monkeypatch.setattr(training, 'STUDIES', tmp_path)
    monkeypatch.setattr(training, 'RESULTS', tmp_path / 'results')
    monkeypatch.setattr(training, 'WORK', tmp_path / 'work')
    return Study('tiny')


def curve(*points):
    return [{'step': step, 'seconds': 60.0 * step, 'AP': ap, 'AP50': 2 * ap} for step, ap in points]


def keep(study, run, seed, *points, machine='A machine, 1 threads, 60 GFLOPS in a product; Python'):
    file = study.file(run, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({'label': run, 'seed': seed, 'curve': curve(*points), 'machine': machine}))


@pytest.mark.parametrize(('name', 'run'), RUNS, ids=[f'{name}: {run}' for name, run in RUNS])
def test_every_run_of_every_study_builds(name, run):
    config = Study(name).config(run, seed=3)
    assert config.randomness.seed == 3
    assert config.model.num_classes == len(config.val_dataloader.dataset.metainfo.classes)
    MODELS.build(config.model)
    for loader in (config.train_dataloader, config.val_dataloader):
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)


@pytest.mark.parametrize('name', STUDIES)
def test_every_study_has_its_place_in_a_page(name):
    page = Study(name).page.read_text()
    assert f'<!-- {name}: begin -->' in page
    assert f'<!-- {name}: end -->' in page


def test_a_run_leaves_its_curve(study):
    training.train(study, 'one', 0)
    result = json.loads(study.file('one', 0).read_text())
    assert [point['step'] for point in result['curve']] == [2, 3]
    first, last = (point['seconds'] for point in result['curve'])
    assert 0 < first < last
    assert list(study.missing(['one'], [0, 1])) == [('one', 1)]


def test_equal_minutes_become_steps(monkeypatch):
    """A minute of steps of 0.4 s, and what follows from their number."""
    monkeypatch.setattr(training, 'measure_config', lambda cfg, clock: Speed(0.4, 3.0))
    study = Study('starts_cells')
    cfg = study.config('ImageNet', 0)
    study.minutes = 1
    training.set_steps(cfg, training.steps_of(study, 'ImageNet', cfg))
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (150, 75)
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.end) == (15, 150)
    assert cfg.default_hooks.ema.momentum == 0.04


def test_a_part_that_takes_twice_the_time_gets_half_the_steps(monkeypatch):
    def measured(cfg, clock):
        return Speed(0.4 if cfg.model.bbox_head.matcher.type == 'RepeatedMatcher' else 0.2, 3.0)

    monkeypatch.setattr(training, 'measure_config', measured)
    study = Study('parts_cells')
    steps = [training.steps_of(study, run, study.config(run, 0)) for run in ('plain', 'every label twice')]
    assert steps == [study.steps, study.steps / 2]


def test_parts_stand_in_the_model_or_around_what_was_there():
    model = Study('parts_cards').config('all of these', 0).model
    groups = model.query_generator.generator
    assert (groups.type, groups.generator.type) == ('GroupQueryGenerator', 'AnchorQueryGenerator')
    assert groups.generator.num_queries == 20
    matcher = model.bbox_head.matcher
    assert (matcher.type, matcher.matcher.type) == ('RepeatedMatcher', 'HungarianMatcher')
    decoder = model.decoder
    assert decoder.first_layer.cross_attention.reach is None
    assert decoder.layer.cross_attention.type == 'AnchorMaskedCrossAttention'
    assert decoder.layer.cross_attention.init_cfg.type == 'DirectedAttention'


def test_instruments_by_hand():
    """Boxes measured from centres do not have the size of the anchor."""
    model = Study('why_boxes_shapes').config('4, boxes measured from centres alone', 0).model
    head = MODELS.build(dict(model.bbox_head, num_classes=2, embed_dims=8))
    head.init_weights()
    states, references = torch.zeros(1, 1, 2, 8), torch.tensor([[[[0.3, 0.4, 0.1, 0.2], [0.6, 0.7, 0.8, 0.9]]]])
    with torch.no_grad():
        boxes = head._answers(states, references, range(1))[1]
    assert boxes[..., :2].flatten().tolist() == pytest.approx([0.3, 0.4, 0.6, 0.7], abs=1e-5)
    assert torch.equal(boxes[..., 0, 2:], boxes[..., 1, 2:])


def test_missing_runs_come_seed_by_seed(study):
    keep(study, 'two', 0, (1, 0.1))
    assert list(study.missing(list(study.runs), study.seeds)) == [('one', 0), ('one', 1), ('two', 1)]


def test_table_by_hand(study):
    """Steps 1 to 8: a quarter is step 2, half is step 4; -1 is COCO's word for nothing found."""
    keep(study, 'one', 0, (1, -1.0), (2, 0.1), (4, 0.2), (8, 0.3))
    keep(study, 'one', 1, (1, 0.0), (2, 0.3), (4, 0.2), (8, 0.4))
    row = table(study).splitlines()[2]
    assert row == (
        '| one | 0.200 (0.100 – 0.300) | 0.200 (0.200 – 0.200) | 0.350 (0.300 – 0.400) | 0.700 (0.600 – 0.800) '
        '| 480 s | 2 |'
    )
    assert spread([-1.0, 0.2]) == '0.100 (0.000 – 0.200)'
    assert spread([0.2]) == '0.200'
    assert spread([at(curve((4, 0.2), (8, 0.3)), 0.25, 'AP'), 0.1]) == '—'
    assert at(curve((4, 0.2), (8, 0.3)), 0.5, 'AP') == 0.2


def test_curves_are_averaged_where_all_have_a_point():
    points = same_steps([curve((2, 0.1), (4, 0.2), (8, 0.3)), curve((4, 0.4), (8, 0.5))])
    assert [[point['AP'] for point in same] for same in points] == [[0.2, 0.4], [0.3, 0.5]]


def test_runs_of_equal_time_are_drawn_by_their_share():
    points = same_steps([curve((2, 0.1), (4, 0.2)), curve((3, 0.4), (6, 0.5))])
    assert [[point['step'] for point in same] for same in points] == [[2, 3], [4, 6]]


def test_plot_and_table_go_to_the_page(study, tmp_path, monkeypatch):
    monkeypatch.setattr(training, 'ROOT', tmp_path)
    page = tmp_path / 'page.md'
    page.write_text('Before\n<!-- tiny: begin -->\nold\n<!-- tiny: end -->\nAfter\n')
    study.page = page
    keep(study, 'one', 0, (2, 0.1), (4, 0.2))
    keep(study, 'one', 1, (2, 0.2), (4, 0.3))
    training.publish(study)
    text = page.read_text()
    assert text.startswith('Before\n')
    assert text.endswith('After\n')
    assert 'old' not in text
    assert '| one | ' in text
    assert (tmp_path / 'docs/images/tiny.png').stat().st_size > 5000


def test_two_processes_do_not_train_the_same_run(tmp_path):
    lock = tmp_path / 'one.pid'
    assert take(lock)
    assert not take(lock)
    lock.write_text('999999999')  # of a process that is gone
    assert take(lock)
    assert lock.read_text() == str(os.getpid())


def test_unknown_names_are_refused(study, monkeypatch):
    with pytest.raises(UserError, match=r'nothing\.py: .* tiny'):
        Study('nothing')
    monkeypatch.setattr('sys.argv', ['training', 'tiny', '--only', 'three'])
    with pytest.raises(UserError, match=r'--only three: .*one, two'):
        training.main()


def test_machines_are_named_with_their_runs_where_they_differ(study):
    keep(study, 'one', 0, (1, 0.1))
    keep(study, 'one', 1, (1, 0.1), machine='A machine, 1 threads, 75 GFLOPS in a product; Python')
    first = 'A machine, 1 threads, 60 GFLOPS in a product; Python'
    assert machines(study) == first
    second = 'A machine, 2 threads, 120 GFLOPS in a product; Python'
    keep(study, 'two', 0, (1, 0.1), machine=second)
    assert machines(study) == f'{first}: one. {second}: two'
    keep(study, 'two', 1, (1, 0.1), machine=first)
    assert machines(study).startswith(f'{first}, or {second}')


@pytest.mark.parametrize(('threads', 'label'), [(1, 'minutes of training'), (2, 'steps of training')])
def test_runs_of_unlike_machines_are_drawn_over_steps(study, tmp_path, threads, label):
    keep(study, 'one', 0, (1, 0.1), (2, 0.2))
    keep(study, 'two', 0, (1, 0.1), (2, 0.2), machine=f'A machine, {threads} threads, 120 GFLOPS in a product; Python')
    training.plot(study, tmp_path / 'plot.png')
    assert pyplot.gcf().axes[0].get_xlabel() == label
    pyplot.close()


# --- Files of results


def test_labels_become_file_names():
    assert slug('N(0, 1), as released') == 'n-0-1-as-released'
    assert slug('7 + temperature 20') == '7-temperature-20'
    assert slug('learning rate 5e-4') == 'learning-rate-5e-4'


@pytest.mark.parametrize('name', STUDIES)
def test_every_result_has_a_plain_file_name_and_its_label(name):
    study = Study(name)
    assert len({slug(run) for run in study.runs}) == len(study.runs)
    for file in (training.RESULTS / name).glob('*'):
        assert re.fullmatch(r'[a-z0-9.-]+-\d+\.json', file.name)
        result = json.loads(file.read_text())
        assert result['label'] in study.runs, file
        assert study.file(result['label'], result['seed']) == file


def test_a_finished_study_prints_its_table(study, monkeypatch, capsys):
    for run in study.runs:
        for seed in study.seeds:
            keep(study, run, seed, (1, 0.1), (2, 0.2))
    monkeypatch.setattr('sys.argv', ['training', 'tiny'])
    training.main()
    printed = capsys.readouterr().out
    assert table(study) in printed
    assert 'missing' not in printed


def test_what_is_missing_after_a_failed_run_is_named(study):
    keep(study, 'one', 0, (1, 0.1))
    assert training.report(study, ['one'], [0, 1]).endswith('one, seed 1')
