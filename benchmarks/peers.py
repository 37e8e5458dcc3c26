"""The candidates: DAB-DETR of mmdet, of Hugging Face and ours, with the same weights, images and
objects.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

#: Variants: the strides and dilations of the ResNet-50.
VARIANTS = {'r50': ((1, 2, 2, 2), (1, 1, 1, 1)), 'r50_dc5': ((1, 2, 2, 1), (1, 1, 1, 2))}


@dataclass(frozen=True)
class Scene:
    """What is looked at: random images, normalised already.

    Attributes:
        batch: images.
        size: (height, width) in pixels.
        objects: in each image.
        device: cpu or cuda.
    """

    batch: int = 1
    size: tuple[int, int] = (800, 1066)
    objects: int = 7
    device: str = 'cpu'

    def images(self) -> Tensor:
        """(B, 3, H, W)."""
        return torch.randn(self.batch, 3, *self.size, generator=torch.Generator().manual_seed(0)).to(self.device)

    def truth(self) -> tuple[list[Tensor], list[Tensor]]:
        """Per image labels (T,) and boxes (T, 4) cx cy w h in 0..1."""
        generator = torch.Generator().manual_seed(1)
        labels = [torch.randint(80, (self.objects,), generator=generator) for _ in range(self.batch)]
        sizes = [torch.rand(self.objects, 2, generator=generator) * 0.3 + 0.05 for _ in range(self.batch)]
        boxes = [torch.cat((torch.rand(self.objects, 2, generator=generator) * 0.6 + 0.2, size), 1) for size in sizes]
        return [label.to(self.device) for label in labels], [box.to(self.device) for box in boxes]

    def data_samples(self) -> list:
        """The ground truth as mmdet has it."""
        from mmdet.structures import DetDataSample
        from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
        from mmengine.structures import InstanceData

        height, width = self.size
        meta = dict(img_shape=self.size, ori_shape=self.size, batch_input_shape=self.size, scale_factor=(1.0, 1.0))
        samples = []
        for labels, boxes in zip(*self.truth(), strict=True):
            corners = bbox_cxcywh_to_xyxy(boxes) * boxes.new_tensor([width, height, width, height])
            sample = DetDataSample(gt_instances=InstanceData(labels=labels, bboxes=corners))
            sample.set_metainfo(meta)
            samples.append(sample)
        return samples


# --- Models


def mmdets(variant: str) -> nn.Module:
    """mmdet's DABDETR from its own config, with weights by a seed; all others get theirs from it."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.hub import get_config
    from mmengine.registry import init_default_scope

    import mmdet_dab  # noqa: F401  (makes mmdet importable)

    init_default_scope('mmdet')
    config: Config = get_config('mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py')
    strides, dilations = VARIANTS[variant]
    config.model.backbone.update(strides=strides, dilations=dilations, init_cfg=None)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if trained: folding it must not be a no-op
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    # The box branch starts at zero, with which all boxes are the anchors, whatever was computed
    # before.
    nn.init.xavier_uniform_(model.bbox_head.fc_reg.layers[-1].weight)
    return model


def ours(variant: str, recompute: bool = False) -> nn.Module:
    """Ours, with mmdet's weights, and for DC5 with mmdet's dilation, so that all compute the same."""
    from mmdet_dab.checkpoints.mmdet import MMDET
    from mmdet_dab.config import load_config
    from mmdet_dab.registry import MODELS

    state = mmdets(variant).state_dict()
    config = load_config('configs/dab_detr_r50_50e.py', {})
    strides, dilations = VARIANTS[variant]
    config.model.backbone.update(strides=strides, dilations=dilations, init_cfg=None, with_cp=recompute)
    config.model.encoder.recompute = recompute
    model = MODELS.build(config.model)
    model.load_state_dict(MMDET.convert(state).state, strict=True)
    return model


def huggingfaces(variant: str) -> nn.Module:
    """Hugging Face's, with mmdet's weights."""
    from transformers import DabDetrConfig, DabDetrForObjectDetection, ResNetConfig

    from mmdet_dab.checkpoints.huggingface import HUGGINGFACE

    if variant != 'r50':
        raise ValueError('Hugging Face has no DC5 with a backbone of its own')
    backbone = ResNetConfig(out_features=['stage4'])
    config = DabDetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, num_labels=80
    )
    model = DabDetrForObjectDetection(config)
    state = HUGGINGFACE.from_ours(ours(variant).state_dict())
    model.load_state_dict(state, strict=False)  # copies of shared tensors are not in it
    return model


# --- What is timed


def predict(build: Callable[[str], nn.Module], variant: str, scene: Scene, dtype: str | None, times: int = 1) -> Any:
    """Prediction, from normalised images to the best 300 boxes.

    Args:
        build: one of the models.
        variant: of the backbone.
        scene: what is looked at.
        dtype: None for the model as it is, else the precision of ``optimize_for_inference``.
        times: how often in a step.
    """
    model = build(variant).to(scene.device)
    model.eval()
    if dtype is not None:
        from mmdet_dab.optimize import optimize_for_inference

        model = optimize_for_inference(model, getattr(torch, dtype))
    images, samples = scene.images(), scene.data_samples()
    found: list[Any] = []

    @torch.inference_mode()
    def step() -> None:
        for _ in range(times):
            found[:] = [_found(model, images, samples, scene)]

    return step, lambda: [tensor.float().cpu().tolist() for tensor in found[0]]


def _found(model: nn.Module, images: Tensor, samples: list, scene: Scene) -> tuple[Tensor, Tensor]:
    """Scores and boxes (x1 y1 x2 y2 in pixels) of the first image."""
    if build_of(model) == 'transformers':
        output = model(pixel_values=images, pixel_mask=torch.ones_like(images[:, 0], dtype=torch.long))
        scores, index = output.logits.sigmoid().flatten(1).topk(300)
        boxes = output.pred_boxes.gather(1, (index // 80)[..., None].expand(-1, -1, 4))
        centre, size = boxes[..., :2], boxes[..., 2:]
        corners = torch.cat((centre - size / 2, centre + size / 2), -1).clamp(0, 1)
        height, width = scene.size
        return scores[0], corners[0] * corners.new_tensor([width, height, width, height])
    result = model(images, samples, mode='predict')[0].pred_instances
    return result.scores, result.bboxes


def build_of(model: nn.Module) -> str:
    """The package that a model comes from."""
    return type(model).__module__.split('.')[0]


def train(build: Callable[[str], nn.Module], variant: str, scene: Scene, dtype: str | None = None) -> Any:
    """A training step: forward, losses, backward, clipping, AdamW, each as its own config has it.

    Args:
        build: one of the models.
        variant: of the backbone.
        scene: what is looked at.
        dtype: None for float32, else the precision of autocast.
    """
    model = build(variant).to(scene.device)
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True if build_of(model) == 'mmdet_dab' else None)
    images, samples = scene.images(), scene.data_samples()
    labels = [dict(class_labels=label, boxes=box) for label, box in zip(*scene.truth(), strict=True)]
    losses: list[float] = []

    def step() -> None:
        optimizer.zero_grad()
        if build_of(model) == 'transformers':
            mask = torch.ones_like(images[:, 0], dtype=torch.long)
            loss = model(pixel_values=images, pixel_mask=mask, labels=labels).loss
        else:
            with torch.autocast(scene.device, getattr(torch, dtype or 'bfloat16'), enabled=dtype is not None):
                loss = sum(model(images, samples, mode='loss').values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()
        losses.append(loss.item())

    return step, lambda: losses


def recomputing(variant: str) -> nn.Module:
    """Ours with activation checkpointing, as in
    ``configs/ablations/dab_detr_r50_dc5_recompute_50e.py``.
    """
    return ours(variant, recompute=True)


def small(variant: str) -> nn.Module:
    """A detector that ``mmdet-dab new-data`` trains on a CPU, with denoising.

    Args:
        variant: file of its model: ``dn_detr_small``, from random weights, or ``dab_detr_lite0``,
            from ImageNet.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmdet_dab
    from mmdet_dab.registry import MODELS

    init_default_scope('mmdet')
    # The config of the checkout that the package is of.
    checkout = Path(mmdet_dab.__file__).parents[1]
    model = Config.fromfile(checkout / 'configs' / '_base_' / 'models' / f'{variant}.py').model
    model.backbone.init_cfg = None
    model.query_generator.generator.num_queries = 60  # as for images of at most 30 objects
    torch.manual_seed(0)
    detector = MODELS.build(model)
    detector.init_weights()
    return detector


def small_channels_last(variant: str) -> nn.Module:
    """The same as its recipe trains it now."""
    return small(variant).to(memory_format=torch.channels_last)


def elsewhere(checkout: str, task: Callable[..., Any], *arguments: Any) -> Any:
    """The same task with the package of another checkout, in a process that has not imported it."""
    sys.path.insert(0, checkout)
    return task(*arguments)


MODELS = {
    'mmdet': mmdets,
    'Hugging Face': huggingfaces,
    'ours': ours,
    'recomputing': recomputing,
    'small': small,
    'small now': small_channels_last,
}


def candidate(task: Callable[..., Any], name: str, *arguments: Any) -> Callable[[], Any]:
    """A picklable candidate for :func:`benchmarks.side_by_side.measure`."""
    return partial(task, MODELS[name], *arguments)
