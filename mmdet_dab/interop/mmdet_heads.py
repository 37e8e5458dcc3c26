"""mmdet's own heads as parts beside ours: an adapter for each, which gives it what it asks for."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

from mmdet.models.dense_heads import ConditionalDETRHead, DABDETRHead, DeformableDETRHead, DETRHead, DINOHead
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, require
from mmdet_dab.models.layers import RenamedTensors
from mmdet_dab.models.structures import DecoderOutput
from mmdet_dab.registry import MODELS


class HeadAdapter(RenamedTensors, BaseModule):
    """A head of mmdet's DETRs: its branches, its losses, its assigner.

    Args:
        head: config of the head, or the head.
        init_cfg: see mmengine's BaseModule.
        facts: of its contract.
    """

    head: Any
    renamed_tensors = MappingProxyType({'': 'head.'})

    def __init__(self, head: dict | nn.Module, init_cfg: dict | None = None, **facts: Any) -> None:
        super().__init__(init_cfg)
        self.head = head if isinstance(head, nn.Module) else MODELS.build(head)
        self.num_classes = self.head.num_classes
        # mmdet's assigners are no modules; ours holds a matcher, which has a contract.
        self.matcher = getattr(getattr(self.head, 'assigner', None), 'matcher', None)
        names = (name for name, _ in self.named_parameters(remove_duplicate=False))  # layers may share a branch
        self.contract = Contract(
            embed_dims=self.head.embed_dims,
            num_classes=self.num_classes,
            class_scores='sigmoid' if self.head.loss_cls.use_sigmoid else 'softmax',
            denoising=False,
            query_groups=False,
            class_tensors=tuple(name for name in names if name.startswith(('head.fc_cls', 'head.cls_branches'))),
            **facts,
        )

    def box_offset(self, content: Tensor, layer: int) -> Tensor:
        """ΔA of one layer: (B, N, D) -> (B, N, 4), by the branch with which the head predicts
        boxes.

        Raises:
            ValueError: the head measures boxes from nothing, or from points that stay.
        """
        raise ValueError(f'{type(self.head).__name__} moves no anchors: take DABDETRHead or SetPredictionHead')

    def inputs(self, output: DecoderOutput) -> tuple[Any, ...]:
        """The decoder's output as the head takes it."""
        return (output.states,)

    def first_stage(self) -> tuple[None, ...]:
        """What the head's loss asks for of a first stage: nothing."""
        return ()

    def forward(self, output: DecoderOutput, layers: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Logits (L, B, N, C), with one more for background in a softmax, and boxes (L, B, N, 4) cx
        cy w h in 0..1, of these layers; mmdet's head computes all of them."""
        logits, boxes = self.head(*self.inputs(output))
        return logits[layers], boxes[layers]

    def loss(self, output: DecoderOutput, data_samples: SampleList) -> dict[str, Tensor]:
        """The losses of mmdet's head by name."""
        return self.head.loss(*self.inputs(output), *self.first_stage(), batch_data_samples=data_samples)

    def predict(self, output: DecoderOutput, data_samples: SampleList, rescale: bool = True) -> InstanceList:
        """The predictions of mmdet's head."""
        found = self.head.predict(*self.inputs(output), batch_data_samples=data_samples, rescale=rescale)
        return cast(InstanceList, found)


@MODELS.register_module()
class MMDetDETRHead(HeadAdapter):
    """mmdet's ``DETRHead``: boxes are measured from nothing."""

    def __init__(self, head: dict | nn.Module, init_cfg: dict | None = None) -> None:
        super().__init__(head, init_cfg, query_kind='learned positions', anchor_dims=0)


@MODELS.register_module()
class MMDetConditionalHead(HeadAdapter):
    """mmdet's ``ConditionalDETRHead``: boxes are measured from points, the same in every layer."""

    def __init__(self, head: dict | nn.Module, init_cfg: dict | None = None) -> None:
        super().__init__(head, init_cfg, query_kind='learned positions', anchor_dims=2)

    def inputs(self, output: DecoderOutput) -> tuple[Any, ...]:
        """States, and the points."""
        return output.states, output.references[0]


@MODELS.register_module()
class MMDetDABHead(HeadAdapter):
    """mmdet's ``DABDETRHead``: boxes are measured from anchors, by one branch for all layers."""

    def __init__(self, head: dict | nn.Module, init_cfg: dict | None = None) -> None:
        super().__init__(head, init_cfg, query_kind='anchors')

    def box_offset(self, content: Tensor, layer: int) -> Tensor:
        """ΔA of one layer: (B, N, D) -> (B, N, 4)."""
        return self.head.fc_reg(content)

    def inputs(self, output: DecoderOutput) -> tuple[Any, ...]:
        """States, and the anchors of every layer."""
        return output.states, output.references


@MODELS.register_module()
class MMDetDeformableHead(HeadAdapter):
    """mmdet's ``DeformableDETRHead`` of one stage: a branch for every layer, points or anchors."""

    def __init__(self, head: dict | nn.Module, init_cfg: dict | None = None) -> None:
        built: Any = head if isinstance(head, nn.Module) else MODELS.build(head)
        super().__init__(built, init_cfg, num_layers=len(built.reg_branches), anchor_dims=(2, 4))

    def box_offset(self, content: Tensor, layer: int) -> Tensor:
        """ΔA of one layer: (B, N, D) -> (B, N, 4)."""
        return self.head.reg_branches[layer](content)

    def inputs(self, output: DecoderOutput) -> tuple[Any, ...]:
        """States, and a list of the references of every layer."""
        return output.states, list(output.references)

    def first_stage(self) -> tuple[None, ...]:
        """No classes and no boxes of the encoder."""
        return None, None


#: mmdet's heads -> their adapters; derived heads come before those that they are derived from.
ADAPTERS = (
    (DABDETRHead, MMDetDABHead),
    (ConditionalDETRHead, MMDetConditionalHead),
    (DeformableDETRHead, MMDetDeformableHead),
    (DETRHead, MMDetDETRHead),
)


@MODELS.register_module(name='MMDetHead')
def adapted(head: dict, init_cfg: dict | None = None) -> HeadAdapter:
    """A head of mmdet's DETRs in the adapter that is made for it.

    Args:
        head: config of ``DETRHead``, ``ConditionalDETRHead``, ``DABDETRHead`` or
            ``DeformableDETRHead`` (of one stage), or of a class derived from one of them that takes
            the same decoder output.
        init_cfg: see mmengine's BaseModule.

    Raises:
        ValueError: the head is none of them.
    """
    built = MODELS.build(head)
    # What is derived from DINO's head asks for the queries of a first stage.
    fits = isinstance(built, DETRHead) and not isinstance(built, DINOHead)
    wanted = 'DETRHead, ConditionalDETRHead, DABDETRHead or DeformableDETRHead, or derived from one of them'
    require('MMDetHead', 'head', type(built).__name__, fits, wanted)
    adapter = next(adapter for kind, adapter in ADAPTERS if isinstance(built, kind))
    return adapter(built, init_cfg)
