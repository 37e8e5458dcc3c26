"""Every config in the repository builds; what its file may state is in ``test_config_rules.py``."""

from __future__ import annotations

import math

import pytest
import torch

from mmdet_dab.config import load_config
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.golden import GoldenCase
from tests.helpers.paths import CONFIGS

#: Configs of released models -> the golden case that lists the released tensors.
RELEASED = {
    'dab_detr_r50_50e.py': 'dab_detr_r50',
    'dab_detr_r50_3pat_50e.py': 'dab_detr_r50_3pat',
    'dab_detr_r50_dc5_50e.py': 'dab_detr_r50_dc5',
    'dab_deformable_detr_r50_50e_released.py': 'dab_deformable_detr_r50',
}
#: Parameters of every config (buffers, such as fixed centres, not counted).
PARAMETERS = {
    'ablations/dab_detr_r50_dc5_3pat_2d_50e.py': 43_590_136,
    'ablations/dab_detr_r50_dc5_3pat_2dec_50e.py': 36_354_894,
    'ablations/dab_detr_r50_dc5_3pat_3dec_50e.py': 38_196_815,
    'ablations/dab_detr_r50_dc5_3pat_4dec_50e.py': 40_038_736,
    'ablations/dab_detr_r50_dc5_3pat_5dec_50e.py': 41_880_657,
    'ablations/dab_detr_r50_dc5_3pat_no_modulation_50e.py': 43_656_272,
    'ablations/dab_detr_r50_dc5_3pat_no_update_50e.py': 43_722_578,
    'ablations/dab_detr_r50_dc5_3pat_t10000_50e.py': 43_722_578,
    'ablations/dab_detr_r50_dc5_100q_50e.py': 43_721_010,
    'ablations/dab_detr_r50_dc5_amp_50e.py': 43_721_810,
    'ablations/dab_detr_r50_dc5_recompute_50e.py': 43_721_810,
    'ablations/dab_detr_r50_one_temperature_50e.py': 43_721_810,
    'ablations/dab_detr_r50_t10000_50e.py': 43_655_504,
    'ablations/dab_detr_r50_t100_50e.py': 43_655_504,
    'ablations/dab_detr_r50_t10_50e.py': 43_655_504,
    'ablations/dab_detr_r50_t20_50e.py': 43_655_504,
    'ablations/dab_detr_r50_t2_50e.py': 43_655_504,
    'ablations/dab_detr_r50_t50_50e.py': 43_655_504,
    'ablations/dab_detr_r50_t5_50e.py': 43_655_504,
    'custom/bccd_r18_c4_55e.py': 2_089_501,
    'custom/overfit_coco4_r50.py': 43_721_010,
    'dab_deformable_detr_r50_50e.py': 47_442_152,
    'dab_deformable_detr_r50_50e_released.py': 47_442_152,
    'dab_detr_deformable_encoder_r50_50e.py': 48_508_492,
    'dab_detr_r101_3pat_50e.py': 62_714_706,
    'dab_detr_r101_50e.py': 62_713_938,
    'dab_detr_r101_dc5_3pat_50e.py': 62_714_706,
    'dab_detr_r101_dc5_50e.py': 62_713_938,
    'dab_detr_r101_dc5_fixxy_3pat_50e.py': 62_714_106,
    'dab_detr_r101_fixxy_3pat_50e.py': 62_714_106,
    'dab_detr_r50_12e.py': 43_721_810,
    'dab_detr_r50_3pat_50e.py': 43_722_578,
    'dab_detr_r50_50e.py': 43_721_810,
    'dab_detr_r50_dc5_3pat_50e.py': 43_722_578,
    'dab_detr_r50_dc5_50e.py': 43_721_810,
    'dab_detr_r50_dc5_fixxy_3pat_50e.py': 43_721_978,
    'dab_detr_r50_dc5_fixxy_50e.py': 43_721_210,
    'dab_detr_r50_fixxy_3pat_50e.py': 43_721_978,
    'dab_detr_swin_b_50e.py': 106_830_218,
    'dab_detr_swin_t_50e.py': 47_405_452,
    'mix/anchor_content_dab_detr_r50_50e.py': 43_723_090,
    'mix/anchor_masked_dab_detr_r50_50e.py': 43_721_810,
    'mix/conditional_detr_r50_50e.py': 43_468_694,
    'mix/detr_r50_150e.py': 41_575_061,
    'mix/dn_dab_deformable_detr_r50_50e.py': 47_462_632,
    'mix/dn_detr_r50_50e.py': 43_742_290,
    'mix/dn_detr_shapes_5min.py': 750_733,
    'mix/group_dab_detr_r50_12e.py': 43_733_810,
    'mix/group_dab_detr_r50_50e.py': 43_733_810,
    'mix/mmdet_conditional_detr_anchors_r50_50e.py': 43_590_220,
    'mix/mmdet_dab_detr_decoder_r50_50e.py': 43_721_810,
    'mix/mmdet_deformable_detr_decoder_r50_50e.py': 44_289_256,
    'mix/mmdet_detr_encoding_r50_150e.py': 41_575_061,
    'mix/mmdet_detr_matcher_r50_150e.py': 41_575_061,
    'mix/mmdet_dino_matcher_r50_12e.py': 47_702_412,
    'mix/mmdet_dino_parts_r50_12e.py': 47_461_608,
    'mix/repeated_labels_dab_detr_r50_50e.py': 43_721_810,
    'mix/road/0_detr_shapes.py': 680_653,
    'mix/road/1_focal_loss_shapes.py': 680_556,
    'mix/road/2_conditional_query_shapes.py': 829_742,
    'mix/road/3_points_shapes.py': 837_356,
    'mix/road/4_boxes_shapes.py': 846_604,
    'mix/road/5_update_shapes.py': 846_604,
    'mix/road/6_modulation_shapes.py': 856_110,
    'mix/road/7_temperature_shapes.py': 856_110,
    'mix/road/8_denoising_shapes.py': 856_494,
    'mix/road_coco/0_detr_r50_50e.py': 41_757_857,
    'mix/road_coco/1_focal_loss_r50_50e.py': 41_757_600,
    'mix/road_coco/2_conditional_query_r50_50e.py': 43_600_290,
    'mix/road_coco/3_points_r50_50e.py': 43_589_368,
    'mix/road_coco/4_boxes_r50_50e.py': 43_655_504,
    'mix/road_coco/5_update_r50_50e.py': 43_655_504,
    'mix/road_coco/6_modulation_r50_50e.py': 43_721_810,
    'mix/road_coco/7_temperature_r50_50e.py': 43_721_810,
    'mix/road_coco/8_denoising_r50_50e.py': 43_742_290,
    'mix/two_stage_dn_dab_deformable_detr_r50_50e.py': 47_680_908,
    'shapes/dab_detr_shapes_30min.py': 750_349,
    'shapes/dab_detr_shapes_5min.py': 750_349,
    'shapes/demo.py': 750_733,
}
FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


def build(name):
    config = load_config(str(CONFIGS / name), {})
    config.model.backbone.init_cfg = None
    return config, MODELS.build(config.model)


def test_every_config_states_its_parameters():
    assert sorted(PARAMETERS) == FILES


@pytest.mark.parametrize('name', FILES)
def test_config_builds_and_predicts(name):
    config, model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    heads = model.bbox_head.num_classes
    assert heads == len(config.get('metainfo', {}).get('classes', range(heads)))
    if isinstance(getattr(model, 'level_embed', None), torch.Tensor):
        # mmdet leaves it to `init_weights`: until then it is memory as it was found, NaN now and then.
        torch.nn.init.zeros_(model.level_embed)
    # mmdet's DINO chooses its 900 queries among the cells.
    pictures, samples = tiny.batch([(192, 256) if 'mmdet_dino_matcher' in name else (64, 96)], [0])
    with torch.no_grad():
        logits, boxes = model.eval()(torch.zeros_like(pictures), samples)[:2]
    head = getattr(model.bbox_head, 'head', model.bbox_head)  # mmdet's, held by a part of ours
    assert logits.shape[-1] == heads + (not head.loss_cls.use_sigmoid)  # a softmax counts background
    assert boxes.isfinite().all()


@pytest.mark.parametrize('name', FILES)
def test_config_is_a_whole_training(name):
    """The Runner finds everything it needs, and the tools the data root."""
    config = load_config(str(CONFIGS / name), {})
    for split in ('train', 'val', 'test'):
        assert config[f'{split}_dataloader'].dataset.pipeline
        assert config[f'{split}_cfg']
    assert config.optim_wrapper.optimizer.type == 'AdamW'
    assert config.default_scope == 'mmdet'


@pytest.mark.parametrize(('name', 'case'), RELEASED.items())
def test_number_of_parameters_is_the_released_models(name, case):
    """That of the released model (DAB-DETR: 44M in the paper's table 2), less 11 of the 91 rows of a class branch."""
    _, model = build(name)
    spec = GoldenCase.load(case).spec
    names = [name for name in spec['parameters'] if name not in spec['tied'] and 'running_' not in name]
    released = sum(math.prod(spec['parameters'][name]) for name in names)
    class_branches = sum(name.endswith('.bias') and name.startswith('class_embed.') for name in names)
    rows_less = class_branches * 11 * (256 + 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == released - rows_less
    assert round(released / 1e6) == (47 if 'deformable' in name else 44)


def test_recipe_of_the_paper():
    config = load_config(str(CONFIGS / 'dab_detr_r50_50e.py'), {})
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-4, 1e-4)
    assert config.optim_wrapper.paramwise_cfg.custom_keys == {'backbone': {'lr_mult': 0.1}}
    assert config.optim_wrapper.clip_grad.max_norm == 0.1
    assert config.train_cfg.max_epochs == 50
    assert config.param_scheduler[0].milestones == [40]
    assert config.auto_scale_lr.base_batch_size == 16
    encoder = MODELS.build(config.model.positional_encoder)
    assert (encoder.temperature, encoder.box_temperature) == (20, 10000)


def test_data_root_alone_moves_the_data():
    config = load_config(str(CONFIGS / 'dab_detr_r50_50e.py'), {'data_root': '/elsewhere'})
    for split in ('train', 'val', 'test'):
        assert config[f'{split}_dataloader'].dataset.data_root.rstrip('/') == '/elsewhere'
    for split in ('val', 'test'):
        assert config[f'{split}_evaluator'].ann_file == '/elsewhere/annotations/instances_val2017.json'
