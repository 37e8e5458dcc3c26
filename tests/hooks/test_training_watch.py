"""Every alarm is provoked, and healthy trainings raise none."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from mmdet_dab.hooks import NotFiniteHook, TrainingWatchHook, alarms
from mmdet_dab.hooks.alarms import Group, Window
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.mmdet_models import shrunk, their_config
from tests.helpers.paths import ROOT
from tests.helpers.training import ANCHORS, alarms_of, build, config_of, pipeline_with, warnings_during

pytestmark = pytest.mark.usefixtures('quiet_runner')

SGD = dict(_delete_=True, type='SGD', lr=1e-3)
#: Overrides of the tiny training, the alarm that they must raise, and figures and keys in its message.
BROKEN = {
    'anchors too small': (
        dict(
            model=dict(query_generator=dict(initial_anchors=dict(size=0.005))),
            optim_wrapper=dict(optimizer=dict(lr=1e-6)),
        ),
        'no-match',
        r'12 objects .*0\.\d\d.*model\.query_generator\.initial_anchors',
    ),
    'blank images': (
        dict(model=dict(data_preprocessor=dict(std=[1e9] * 3, mean=[0.0] * 3))),
        'flat-scores',
        r'\d.*optim_wrapper\.optimizer\.lr.*data_preprocessor\.mean',
    ),
    'clipped to nothing': (
        dict(optim_wrapper=dict(clip_grad=dict(max_norm=1e-7))),
        'clipped-gradients',
        r'1/\d.*eps=1e-08 .*clip_grad\.max_norm \(now 1e-07\)',
    ),
    'clipped without Adam': (
        dict(optim_wrapper=dict(optimizer=SGD)),
        'clipped-gradients',
        r'1/\d.*clip_grad\.max_norm \(now 0\.1\)',
    ),
    'no learning rate': (
        dict(optim_wrapper=dict(optimizer=dict(lr=0.0))),
        'no-learning-rate',
        r'set optim_wrapper\.optimizer\.lr',
    ),
    'schedule without a rate': (
        dict(param_scheduler=[dict(type='ConstantLR', factor=1e-9, by_epoch=False, begin=0, end=99)]),
        'no-learning-rate',
        r'all parameters .*0\.001: param_scheduler',
    ),
    'parameters without an optimizer': (
        dict(optim_wrapper=dict(constructor='WithoutBackbone', paramwise_cfg=dict(bias_lr_mult=1.0))),
        'no-learning-rate',
        r'\d+ parameters .*\(backbone\.\S+, .* more\): see optim_wrapper\.constructor',
    ),
    'cropped away': (
        dict(train_dataloader=pipeline_with(dict(type='RandomCrop', crop_size=(8, 8), allow_negative_crop=True))),
        'lost-objects',
        r'0\S* of 1 .* \d+% of the images .*crop_size',
    ),
}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class WithoutBackbone(DefaultOptimWrapperConstructor):
    """Forgets the backbone."""

    def add_params(self, params, module, prefix='', is_dcn_module=None):
        for name, child in module.named_children():
            if name != 'backbone':
                params.append({'params': list(child.parameters())})


@pytest.mark.parametrize('name', BROKEN)
def test_what_is_broken_is_said_once(tmp_path, name):
    overrides, alarm, pattern = BROKEN[name]
    raised = alarms_of(tmp_path, **overrides)
    (said,) = [text for text in raised if f'docs/own_data.md#{alarm}' in text]
    assert said.startswith('ATTENTION: ')
    assert re.search(pattern, said), said


DENOISING = dict(
    query_generator=dict(
        _delete_=True,
        type='DenoisingQueryGenerator',
        generator=dict(
            type='AnchorQueryGenerator',
            num_queries=25,
            embed_dims=tiny.WIDTH,
            initial_anchors=ANCHORS,
        ),
        num_classes=2,
        embed_dims=tiny.WIDTH,
        num_groups=2,
    )
)
SOFTMAX = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='CrossEntropyLoss'),
        class_scores=dict(type='SoftmaxScores', background_weight=0.1),
        matcher=dict(costs=[dict(type='mmdet_dab.ClassificationCost'), dict(type='BoxL1Cost'), dict(type='GIoUCost')]),
    )
)
HEALTHY = {
    'DAB-DETR': dict(),
    'denoising': dict(model=DENOISING),
    'softmax': dict(model=SOFTMAX),
    'frozen on purpose': dict(
        model=dict(backbone=dict(frozen_stages=1)),
        optim_wrapper=dict(paramwise_cfg=dict(custom_keys={'neck': dict(lr_mult=0.0)})),
    ),
    'a little cropped': dict(
        train_dataloader=pipeline_with(dict(type='RandomCrop', crop_size=(56, 56), allow_negative_crop=True))
    ),
    'accumulated gradients': dict(optim_wrapper=dict(accumulative_counts=2)),
    'warm-up': dict(param_scheduler=[dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=8)]),
    'the end of the schedule': dict(
        param_scheduler=[dict(type='PolyLR', eta_min=0.0, by_epoch=False, begin=0, end=12)],
    ),
}


@pytest.mark.parametrize('name', HEALTHY)
def test_healthy_trainings_raise_no_alarm(tmp_path, name):
    assert alarms_of(tmp_path, **HEALTHY[name]) == []


#: Detectors of mmdet: a DETR, all of which can be judged, and one with other outputs.
FOREIGN = {
    'DETR': lambda: shrunk(their_config('detr/detr_r50_8xb2-150e_coco'), tiny.WIDTH, bbox_head=dict(num_classes=2)),
    'RetinaNet': lambda: slim_retinanet(),
}


def slim_retinanet():
    config = their_config('retinanet/retinanet_r50_fpn_1x_coco')
    half = dict(_delete_=True, type='ResNet', out_indices=(0, 1, 2, 3), init_cfg=None, norm_cfg=dict(type='BN'))
    half |= dict(depth=18, base_channels=8, stem_channels=8)
    config.merge_from_dict(
        dict(
            model=dict(
                backbone=half,
                neck=dict(in_channels=[8, 16, 32, 64], out_channels=8),
                bbox_head=dict(num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1),
            )
        )
    )
    return config.model


@pytest.mark.parametrize('name', FOREIGN)
def test_detectors_of_mmdet_are_watched_without_harm(tmp_path, name):
    config = config_of(tmp_path, optim_wrapper=dict(optimizer=dict(lr=0.0)))
    config.model = FOREIGN[name]()
    raised = warnings_during(build(config))
    assert [text for text in raised if '#no-learning-rate' in text]
    assert ('#no-match' in ' '.join(raised)) == (name == 'DETR')  # no box of 7 queries comes near without learning


def test_a_checkpoint_that_hardly_fits(tmp_path):
    """Of all its weights, the model finds the bias of its class branch."""
    file = tmp_path / 'other.pth'
    torch.save({'state_dict': {'conv1.weight': torch.ones(9), 'bbox_head.class_branch.bias': torch.ones(2)}}, file)
    (said,) = [text for text in alarms_of(tmp_path, load_from=str(file)) if '#nothing-loaded' in text]
    total = sum(weight.numel() for weight in MODELS.build(config_of(tmp_path / 'again').model).parameters())
    assert f'{file} gave 2 of {total} weights' in said
    assert re.search('conv1.weight, bbox_head.class_branch.bias.* backbone.conv1.weight', said)


@pytest.mark.parametrize('prefix', [None, 'backbone.'])
def test_a_backbone_from_a_whole_detector_wants_its_prefix(tmp_path, prefix):
    file = tmp_path / 'detector.pth'
    torch.save({'state_dict': MODELS.build(config_of(tmp_path / 'other').model).state_dict()}, file)
    start = dict(type='Pretrained', checkpoint=str(file)) | (dict(prefix=prefix) if prefix else {})
    config = config_of(tmp_path)
    config.model.backbone.init_cfg = start
    raised = warnings_during(build(config))
    if prefix:
        assert not raised
        return
    (said,) = raised
    assert re.search(
        rf'{file} for backbone gave 0 of \d+ weights.*model\.backbone\.init_cfg\.prefix="backbone\."', said
    )


def test_a_whole_checkpoint_is_not_mentioned(tmp_path):
    file = tmp_path / 'same.pth'
    torch.save({'state_dict': MODELS.build(config_of(tmp_path / 'other').model).state_dict()}, file)
    assert alarms_of(tmp_path, load_from=str(file)) == []


def test_it_changes_nothing(tmp_path):
    """The same weights after the training, with the watch at every step and without."""
    weights = []
    for steps in (0, 5):
        torch.manual_seed(0)
        runner = build(config_of(tmp_path / str(steps), default_hooks=dict(training_watch=dict(steps=steps))))
        assert len(warnings_during(runner)) == 0
        weights.append(runner.model.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_switch_turns_it_off(tmp_path):
    off = dict(training_watch=dict(steps=0))
    assert alarms_of(tmp_path, optim_wrapper=dict(optimizer=dict(lr=0.0)), default_hooks=off) == []


def test_later_steps_are_judged_too_and_nothing_is_said_twice(tmp_path):
    """A rate that is taken away after step 6; windows of 3 steps, of which the last tenth is not judged."""
    schedule = [dict(type='MultiStepLR', milestones=[5], gamma=0.0, by_epoch=False)]
    config = config_of(tmp_path, param_scheduler=schedule, default_hooks=dict(training_watch=dict(steps=3)))
    raised = warnings_during(build(config))
    assert [text for text in raised if '#no-learning-rate' in text and 'param_scheduler' in text]
    assert len(raised) == 1


# --- The thresholds, by hand


def test_one_object_of_a_hundred_with_a_good_box_is_enough():
    assert alarms.no_match([0.3] + [0.0] * 99) is None
    assert '101 objects is 0.30' in alarms.no_match([0.3] + [0.1] * 100)
    assert alarms.no_match([]) is None


def test_flat_is_judged_by_the_later_half():
    assert '0.0004' in alarms.flat_scores([0.4, 0.3, 4e-4, 1e-6])
    assert alarms.flat_scores([0.0, 0.0, 0.0, 5e-4]) is None


def test_clipping_as_in_the_recipe_is_healthy():
    """DAB-DETR R50: 44 million weights, max_norm 0.1, so 1.5e-5 for each: 1,500 times Adam's eps."""
    healthy = [100.0] * 500
    assert alarms.clipped_gradients(healthy, 0.1, 44_000_000, 1e-8) is None
    assert alarms.clipped_gradients(healthy, 6e-5, 44_000_000, 1e-8)  # 9e-9 for each
    assert alarms.clipped_gradients([*healthy, 1.0], 6e-5, 44_000_000, 1e-8) is None  # one step was not clipped
    assert alarms.clipped_gradients([9.0] * 500, 0.1, 44_000_000, None) is None
    assert alarms.clipped_gradients([11.0] * 500, 0.1, 44_000_000, None)


def test_rates_by_hand():
    trained, purpose, frozen = Group(('a',), 1e-4, 1e-8), Group(('b',), 0.0, 1e-8), Group((), 1e-4, 1e-8)
    assert alarms.no_learning_rate([trained, purpose, frozen], [1e-4, 0.0, 0.0]) is None
    assert alarms.no_learning_rate([frozen], [0.0]) is None
    assert 'all parameters' in alarms.no_learning_rate([trained, purpose], [0.0, 0.0])
    other = Group(('c', 'd'), 1e-5, 1e-8)
    assert re.search('c, d .*1e-05', alarms.no_learning_rate([trained, other], [1e-4, 0.0]))


def test_objects_by_hand():
    """Three objects in an image, and a tenth of the images without any."""
    assert alarms.lost_objects(Window(objects=150, empty=10, images=100), 3.0, 0.1) is None
    assert '1.4 of 3' in alarms.lost_objects(Window(objects=140, empty=10, images=100), 3.0, 0.1)
    assert '28% of the images' in alarms.lost_objects(Window(objects=250, empty=35, images=100), 3.0, 0.1)
    assert alarms.lost_objects(Window(objects=0, empty=100, images=100), 0.0, 1.0) is None


@pytest.mark.parametrize('arguments', [dict(steps=-1), dict(interval=0)])
def test_nonsense_is_refused(arguments):
    with pytest.raises(ValueError, match=f'{next(iter(arguments))}=-?\\d+ '):
        TrainingWatchHook(**arguments)


def test_every_alarm_has_its_paragraph():
    """What the log points to is a heading of the page, and every heading is pointed to."""
    watch, stop = (Path(inspect.getfile(hook)).read_text() for hook in (TrainingWatchHook, NotFiniteHook))
    named = {*re.findall(r"_tell\(\s*runner,\s*'([a-z-]+)'", watch), *re.findall(r"own_data\.md#([a-z-]+)'", stop)}
    page = (ROOT / alarms.HELP).read_text().split('## When it does not learn')[1]
    assert named == set(re.findall(r'^### ([a-z-]+)$', page, flags=re.MULTILINE))
