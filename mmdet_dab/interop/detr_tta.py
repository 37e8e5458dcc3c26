"""An image tested as it is and mirrored, and the two answers made one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_dab.errors import ConfigError
from mmdet_dab.models.matrix_nms import MatrixNMS
from mmdet_dab.registry import MODELS


@MODELS.register_module()
class DetrTTA(DetTTAModel):
    """mmdet's test-time augmentation for detectors that predict sets, without compiled operators.

    mmdet brings the boxes of all views back to the image and calls NMS, which mmcv-lite has not
    got. Here :class:`MatrixNMS` lowers the scores of what two views found twice.

    Args:
        sigma: of :class:`MatrixNMS`.
        kwargs: ``module``, the detector, and ``data_preprocessor``.
    """

    def __init__(self, sigma: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.nms = MatrixNMS(sigma)

    def _merge_single_sample(self, data_samples: Sequence[DetDataSample]) -> DetDataSample:
        """The views of one image, that which is not mirrored first -> one sample with as many
        predictions as a view has, best first."""
        found = [sample.pred_instances for sample in data_samples]
        boxes, scores = self.merge_aug_bboxes(
            [view.bboxes for view in found],
            [view.scores for view in found],
            [sample.metainfo for sample in data_samples],
        )
        scores, order = scores.sort(descending=True, stable=True)
        boxes, labels = boxes[order], torch.cat([view.labels for view in found])[order]
        scores = self.nms(scores[None], labels[None], boxes[None])[0]
        scores, best = scores.topk(max(len(view) for view in found))
        merged = data_samples[0]
        merged.pred_instances = InstanceData(bboxes=boxes[best], scores=scores, labels=labels[best])
        return merged


def mirror_in_test(cfg: Config) -> None:
    """Let a config test every image mirrored, too; ``tta_model`` and ``tta_pipeline`` of a config
    that has them say how.

    Raises:
        ConfigError: the test pipeline does not end in ``PackDetInputs``, before which images are
            mirrored.
    """
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:  # wrapped, such as by RepeatDataset
        dataset = dataset.dataset
    if cfg.get('tta_pipeline'):
        dataset.pipeline = cfg.tta_pipeline
    else:
        dataset.pipeline = with_mirrored(dataset.pipeline)
    cfg.model = dict(cfg.get('tta_model') or dict(type='mmdet_dab.DetrTTA'), module=cfg.model)


def with_mirrored(pipeline: Sequence[dict]) -> list[dict]:
    """A test pipeline that packs two views of an image: as it is, and mirrored.

    Raises:
        ConfigError: see :func:`mirror_in_test`.
    """
    *steps, last = copy.deepcopy(list(pipeline))
    if not last['type'].endswith('PackDetInputs'):
        raise ConfigError(
            f'test_dataloader.dataset.pipeline ends in {last["type"]}, but mirrored views are packed by '
            'PackDetInputs: put it last, or give the config a tta_pipeline.'
        )
    keys = last.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
    last['meta_keys'] = tuple(dict.fromkeys((*keys, 'ori_shape', 'flip', 'flip_direction')))
    views = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[views, [last]])]
