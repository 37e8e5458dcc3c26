"""Queries made of noised ground truth, beside those that are matched.

After DN-DETR: Accelerate DETR Training by Introducing Query DeNoising (Li et al., CVPR 2022,
arXiv:2203.01305).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_dab.models.compatibility import Contract, contract_of, require
from mmdet_dab.models.matcher import Targets, ground_truth_of
from mmdet_dab.models.structures import Denoising, ImageTokens, Queries
from mmdet_dab.registry import MODELS

#: Noised coordinates stay this far from 0 and 1, as σ⁻¹ leaves them in the released code; no anchor
#: is without size.
EPS = 1e-3


def noised_labels(labels: Tensor, num_classes: int, label_noise: float) -> Tensor:
    """Replace each label by one drawn from all classes, with probability ``label_noise`` (γ).

    Args:
        labels: (...) long.
        num_classes: C; the label itself may be drawn, too.
        label_noise: 0..1.
    """
    flipped = torch.rand(labels.shape, device=labels.device) < label_noise
    return torch.where(flipped, torch.randint_like(labels, num_classes), labels)


def noised_boxes(boxes: Tensor, center_noise: float, size_noise: float) -> Tensor:
    """Shift and scale boxes, each coordinate on its own and evenly distributed.

    Args:
        boxes: (..., 4) cx cy w h in 0..1.
        center_noise: λ1: |Δx| < λ1·w/2 and |Δy| < λ1·h/2, so that below 1 the centre stays inside
            the box.
        size_noise: λ2: w and h times 1 − λ2 to 1 + λ2.

    Returns:
        (..., 4) cx cy w h, clamped to EPS..1 − EPS.
    """
    shift, scale = (2 * torch.rand_like(boxes) - 1).split(2, dim=-1)
    centers, sizes = boxes.split(2, dim=-1)
    noised = torch.cat((centers + shift * center_noise * sizes / 2, sizes * (1 + scale * size_noise)), dim=-1)
    return noised.clamp(EPS, 1 - EPS)


def slots_of(targets: Targets) -> Tensor:
    """(B, M) bool: True on objects, False on the padding of images with fewer than M."""
    counts = torch.tensor(targets.counts, device=targets.labels.device)
    return torch.arange(targets.labels.size(1), device=counts.device) < counts[:, None]


def known_slots(counts: Sequence[int], most: int, num_groups: int, device: torch.device) -> Tensor:
    """(2, K): the image of every denoising query that is no padding, and its place among the G·M of
    its image.

    From the counts, in one transfer; a GPU would have to be waited for to tell which they are.
    """
    places = [
        (image, group * most + place)
        for image, count in enumerate(counts)
        for group in range(num_groups)
        for place in range(count)
    ]
    return torch.tensor(places, dtype=torch.long, device=device).view(-1, 2).T


def denoising_mask(num_matching: int, objects: Tensor, num_groups: int) -> Tensor:
    """Who must not look at whom: the matching part at no ground truth, a group at no other group,
    nobody at padding.

    Denoising queries do look at the matching part, which knows nothing of the ground truth.

    Args:
        num_matching: N queries, which come first; G groups of M follow.
        objects: (B, M) bool, True on objects, False on padding.
        num_groups: G.

    Returns:
        (B, 1, N + G·M, N + G·M) bool, True where the query of the row must not look at that of the
        column.
    """
    batch, most = objects.shape
    groups = torch.arange(num_groups, device=objects.device).repeat_interleave(most)
    groups = torch.cat((groups.new_full((num_matching,), -1), groups))
    foreign = (groups != groups[:, None]) & (groups >= 0)
    padding = torch.cat((objects.new_zeros(batch, num_matching), ~objects.repeat(1, num_groups)), dim=1)
    return foreign | padding[:, None, None]


@MODELS.register_module()
class DenoisingQueryGenerator(BaseModule):
    """In training, adds noised ground truth to the queries of another generator; at test time there
    is only that one.

    Every group holds each object of an image once: content is the embedding of its noised label,
    the anchor its noised box. The head lets them answer for the object that they come from, without
    matching. They follow the matching queries; the groups of an image with fewer objects than the
    fullest one of the batch are padded.

    What differs from the released code, and why:

    - There, content is a label embedding of D − 1 channels and an indicator (1 on denoising
      queries, 0 on matching ones), and the matching queries' label is an extra class "unknown".
      Here the embedding has all D channels, and the matching queries keep the content that the
      wrapped generator gives them. So any generator can be wrapped, 0 groups are exactly the model
      without denoising, and what is trained is, at test time, exactly the
      wrapped model. Nothing is lost: D free channels can hold an indicator, and "unknown" is
      one learned content for all matching queries, which is
      ``AnchorQueryGenerator(num_patterns=1)``.
    - There, padding is visible to its group, so that an image's losses depend on the number of
      objects in the others. Here nobody looks at it.
    - There, each process divides its denoising losses by its own objects. Here, as all losses, by
      their mean over the processes.

    Args:
        generator: config of a query generator with 4-D anchors.
        num_classes: C; one row of the label embedding for each.
        num_groups: G, how often each object is noised (paper: 5; AP 42.2, 43.4, 44.1 with 0, 1, 5).
            0: no denoising.
        most_queries: of an image. Where an image of the batch has more than a G-th of it in
            objects, there are fewer groups, but at least one: attention, and its memory, grow with
            the square of the queries.
        center_noise: λ1, see :func:`noised_boxes`.
        size_noise: λ2, see :func:`noised_boxes`.
        label_noise: γ, see :func:`noised_labels`.
        embed_dims: width D of the content.
        init_cfg: see mmengine's BaseModule.
    """

    def __init__(
        self,
        generator: dict,
        num_classes: int,
        num_groups: int = 5,
        center_noise: float = 0.4,
        size_noise: float = 0.4,
        label_noise: float = 0.2,
        embed_dims: int = 256,
        most_queries: int = 1000,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        require(name, 'most_queries', most_queries, most_queries >= 1, 'at least 1')
        require(name, 'num_classes', num_classes, num_classes >= 1, 'at least 1')
        require(name, 'num_groups', num_groups, num_groups >= 0, 'at least 0')
        require(name, 'center_noise', center_noise, 0 <= center_noise < 1, 'at least 0 and less than 1')
        require(name, 'size_noise', size_noise, 0 <= size_noise < 1, 'at least 0 and less than 1')
        require(name, 'label_noise', label_noise, 0 <= label_noise <= 1, 'between 0 and 1')
        self.contract = Contract(
            embed_dims=embed_dims,
            num_classes=num_classes,
            denoising=bool(num_groups) or None,
            class_tensors=('label_embedding',) if num_groups else (),
        )
        self.num_classes = num_classes
        self.num_groups = num_groups
        self.most_queries = most_queries
        self.center_noise = center_noise
        self.size_noise = size_noise
        self.label_noise = label_noise
        self.generator = MODELS.build(generator)
        anchor_dims = contract_of(self.generator).anchor_dims
        fits = anchor_dims in (4, None) or num_groups == 0
        require(name, 'generator.anchor_dims', anchor_dims, fits, '4: the noised boxes have a width and a height')
        # Made after the generator, and only if it is used: so 0 groups start from the same random
        # numbers as none.
        self.label_embedding = nn.Parameter(torch.randn(num_classes, embed_dims)) if num_groups else None

    def forward(self, tokens: ImageTokens, data_samples: SampleList | None = None) -> Queries:
        """Make the queries of a batch.

        Args:
            tokens: the encoded images.
            data_samples: the ground truth in training, or None: then, as with 0 groups, the queries
                are those of the wrapped generator.

        Returns:
            content (B, N + G·M, D) and anchors (B, N + G·M, 4) for N matching queries and at most M
            objects in an image, with attention mask and ``denoising``. Without any object in the
            batch M is 0.

        Raises:
            ValueError: the queries of the wrapped generator have no anchors, or denoise already.
        """
        queries = self.generator(tokens, data_samples)
        if data_samples is None or self.label_embedding is None:
            return queries
        if queries.anchors is None or queries.denoising is not None:
            raise ValueError(
                f'{type(self).__name__} needs queries with anchors and without denoising, but '
                f'{type(self.generator).__name__}, which it wraps, gave others'
            )
        targets = ground_truth_of(data_samples)
        objects, num_matching = slots_of(targets), queries.content.size(1)
        groups = min(self.num_groups, max(self.most_queries // max(objects.size(1), 1), 1))
        labels = targets.labels.repeat(1, groups)  # (B, M) -> (B, G·M), group by group
        boxes = targets.boxes.repeat(1, groups, 1)
        content = self.label_embedding[noised_labels(labels, self.num_classes, self.label_noise)]
        anchors = noised_boxes(boxes, self.center_noise, self.size_noise)
        mask = denoising_mask(num_matching, objects, groups)
        if queries.attention_mask is not None:
            mask[..., :num_matching, :num_matching] |= queries.attention_mask
        # Of several groups of matching queries they look at the first, the one of test time.
        mask[..., num_matching:, num_matching // queries.groups : num_matching] = True
        image, slot = known_slots(targets.counts, objects.size(1), groups, labels.device)
        return replace(
            queries,
            content=torch.cat((queries.content, content), dim=1),
            anchors=torch.cat((queries.anchors, anchors), dim=1),
            attention_mask=mask,
            denoising=Denoising(num_matching, image, num_matching + slot, labels[image, slot], boxes[image, slot]),
        )
