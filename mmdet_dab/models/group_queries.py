"""Several groups of queries in training, each of which learns to find all objects.

After Group DETR (Chen et al., ICCV 2023, arXiv:2207.13085).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from mmdet.structures import SampleList
from mmengine.model import BaseModule, ModuleList
from torch import Tensor

from mmdet_dab.models.compatibility import Contract, contract_of, require
from mmdet_dab.models.layers import inverse_sigmoid
from mmdet_dab.models.structures import ImageTokens, Queries
from mmdet_dab.registry import MODELS


def group_mask(num_groups: int, num_queries: int, device: torch.device) -> Tensor:
    """(K·N, K·N) bool, True where a query must not look: at another group."""
    group = torch.arange(num_groups, device=device).repeat_interleave(num_queries)
    return group != group[:, None]


@MODELS.register_module()
class GroupQueryGenerator(BaseModule):
    """In training, K groups of queries from K generators of one kind; at test time the first alone.

    Groups share encoder and decoder, do not look at one another in self-attention, and are matched
    one by one by the head, whose losses are their mean. So every object has K queries that learn
    from it, and each group still learns to find an object once. What is trained is, at test time,
    exactly the model without groups: the first group never sees the others.

    ``DenoisingQueryGenerator`` may stand around it: denoising queries then look at the first group.

    Args:
        generator: config of a query generator.
        num_groups: K (paper: 11 for 50 epochs of COCO). 1: no groups.
        jitter: standard deviation of noise on the further groups' anchors, before the sigmoid and
            anew in every step. It is needed where anchors do not start by chance (``GridAnchors``,
            ``BoxAnchors``): groups that start alike would stay alike.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self, generator: dict, num_groups: int = 11, jitter: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        require(name, 'num_groups', num_groups, num_groups >= 1, 'at least 1')
        require(name, 'jitter', jitter, jitter >= 0, 'at least 0')
        self.num_groups, self.jitter = num_groups, jitter
        self.generator = MODELS.build(generator)
        # Made after the first, which so starts from the same random numbers as without groups.
        self.further = ModuleList(MODELS.build(generator) for _ in range(num_groups - 1))
        inner = contract_of(self.generator)
        fits = not jitter or inner.anchor_dims in (2, 4)
        require(
            name, 'jitter', jitter, fits, f'0: queries of {type(self.generator).__name__} have no anchors of their own'
        )
        self.contract = Contract(
            query_kind=inner.query_kind, anchor_dims=inner.anchor_dims, query_groups=num_groups > 1 or None
        )

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch.

        Args:
            tokens: the encoded images.
            data_samples: ground truth in training, or None: then, as with one group, the queries
                are those of the first generator.

        Returns:
            K·N queries, group by group, with a mask (K·N, K·N) between groups.

        Raises:
            ValueError: the queries of the generator have a mask or denoising queries already.
        """
        first = self.generator(tokens, data_samples)
        if data_samples is None or self.num_groups == 1:
            return first
        if first.attention_mask is not None or first.denoising is not None:
            raise ValueError(
                f'{type(self).__name__} needs queries without attention mask and denoising, but '
                f'{type(self.generator).__name__}, which it wraps, gave others: let it stand around this one'
            )
        further = [self._moved(generator(tokens, data_samples)) for generator in self.further]
        groups = [first, *further]
        return replace(
            first,
            content=torch.cat([queries.content for queries in groups], dim=1),
            anchors=_beside([queries.anchors for queries in groups]),
            position=_beside([queries.position for queries in groups]),
            attention_mask=group_mask(self.num_groups, first.content.size(1), first.content.device),
            groups=self.num_groups,
        )

    def _moved(self, queries: Queries) -> Queries:
        if not self.jitter:
            return queries
        anchors = inverse_sigmoid(queries.required('anchors', self))
        return replace(queries, anchors=(anchors + self.jitter * torch.randn_like(anchors)).sigmoid())


def _beside(parts: list[Tensor | None]) -> Tensor | None:
    """(B, N, ...) of all groups -> (B, K·N, ...); None where no group has it."""
    given = [part for part in parts if part is not None]
    return torch.cat(given, dim=1) if given else None
