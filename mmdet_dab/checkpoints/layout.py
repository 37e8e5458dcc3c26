"""What all foreign layouts share: a table of names, and what it makes of a file's tensors.

A table pairs the names of modules or tensors, theirs and ours, with ``#`` for an index::

    ('transformer.encoder.layers.#.norm1', 'encoder.layers.#.attention_norm')

A name belongs to a pair if it is equal to its side of it, or goes on with a dot. The first pair
counts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmdet_dab.errors import CheckpointError

Pairs = tuple[tuple[str, str], ...]

#: COCO's 80 classes among the ids 0..90 that the released class rows stand for, in mmdet's order.
COCO_IDS = tuple(sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
CLASS_ROWS = re.compile(r'bbox_head\.class_branch(es\.\d+)?\.(weight|bias)')
ROLES = ('query', 'key', 'value')
ROLE = re.compile(r'\.(query|key|value)\.')


@dataclass(frozen=True)
class Conversion:
    """What became of a file's tensors.

    Attributes:
        state: our state dict.
        origin: our names -> their names.
        dropped: their names -> why they have no place here.
        background: the last class row is that of background.
    """

    state: dict[str, Tensor]
    origin: dict[str, str]
    dropped: dict[str, str]
    background: bool = False

    @property
    def class_rows(self) -> int:
        """How many classes the file tells apart, background left out; 0 if it has no class branch."""
        rows = (len(tensor) for name, tensor in self.state.items() if _has_class_rows(name, tensor))
        return next((number - self.background for number in rows), 0)

    def with_classes(self, num_classes: int) -> Conversion:
        """Keep all class rows, or COCO's 80 of the 91 ids 0..90.

        Raises:
            CheckpointError: a number of classes that the file cannot give.
        """
        found = self.class_rows
        if num_classes == found:
            return self
        if (found, num_classes) != (91, 80) or self.background:
            choice = 'give 91 or 80' if found == 91 and not self.background else f'give {found}'
            raise CheckpointError(f'num_classes={num_classes}: the checkpoint has {found} class rows, {choice}')
        rows = torch.as_tensor(COCO_IDS)
        state = {
            # Another number of rows than the first branch has is for `check_fits` to name.
            name: tensor[rows] if _has_class_rows(name, tensor) and len(tensor) == found else tensor
            for name, tensor in self.state.items()
        }
        return replace(self, state=state)


def _has_class_rows(name: str, tensor: Tensor) -> bool:
    return bool(CLASS_ROWS.fullmatch(name)) and tensor.dim() > 0


@dataclass(frozen=True)
class Layout:
    """A foreign layout.

    Attributes:
        name: short, for tables.
        source: what writes it.
        marks: names that together occur in this layout only.
        pairs: (theirs, ours) of modules and tensors.
        anchors: their tensor (A, 4) or (A, 2), which is ours in two: centers, and sizes if any;
            empty where it is in two already.
        packed: (theirs, ours) of attentions whose ``in_proj_weight`` and ``in_proj_bias`` hold
            query, key and value in one tensor, where ours are three.
        copies: (copy, original) of their modules that are one module under two names.
        remarks: what a user of these weights has to know, for people.
        background: the class branch has a last row for background (softmax).
    """

    name: str
    source: str
    marks: tuple[str, ...]
    pairs: Pairs
    anchors: str
    packed: Pairs = ()
    copies: Pairs = ()
    remarks: tuple[str, ...] = ()
    background: bool = False

    def recognises(self, names: Collection[str]) -> bool:
        """Whether these are the names of this layout."""
        return all(mark in names for mark in self.marks)

    def convert(self, weights: Mapping[str, Tensor]) -> Conversion:
        """Our tensors of theirs; whether a model gets all it needs is checked by ``check_fits``.

        Raises:
            CheckpointError: names a tensor that this layout does not have, or a copy that is not
                equal to its original.
        """
        state: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        dropped: dict[str, str] = {}
        for name, tensor in weights.items():
            original = renamed(name, self.copies) or name
            if original != name and original in weights:
                dropped[name] = self._equal(name, original, weights)
                continue
            for ours, part in self._parts(original, tensor):
                state[ours], origin[ours] = part, name
        return Conversion(state, origin, dropped, self.background)

    def _equal(self, copy: str, original: str, weights: Mapping[str, Tensor]) -> str:
        """Why the copy is dropped."""
        if not torch.equal(weights[copy], weights[original]):
            raise CheckpointError(
                f"'{copy}' and '{original}' are one tensor in a checkpoint of {self.source}, but differ in this one: "
                'it was changed, and cannot be converted without loss'
            )
        return next(f'equal to {whole}' for part, whole in self.copies if renamed(copy, ((part, whole),)))

    def _parts(self, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """One of their tensors -> one or several of ours."""
        if name == self.anchors:
            yield from self._anchor_parts(tensor)
        elif (packed := renamed(name, self.packed)) and '.in_proj_' in packed:
            for role, part in zip(ROLES, tensor.tensor_split(3), strict=True):
                yield packed.replace('.in_proj_', f'.{role}.'), part.clone()
        elif ours := renamed(name, self.pairs):
            yield ours, tensor
        else:
            raise CheckpointError(f"'{name}' has no place in a DAB-DETR of {self.source}: is this another model?")

    def _anchor_parts(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        if tensor.dim() != 2 or tensor.size(1) not in (2, 4):
            raise CheckpointError(f"'{self.anchors}' must be (A, 4) or (A, 2), but is {tuple(tensor.shape)}")
        yield 'query_generator.centers', tensor[:, :2].clone()
        if tensor.size(1) == 4:
            yield 'query_generator.sizes', tensor[:, 2:].clone()


@dataclass(frozen=True)
class TwoWayLayout(Layout):
    """A layout into which our weights can be written as well."""

    def from_ours(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors of ours, without copies.

        Raises:
            CheckpointError: names a tensor that has no place there.
        """
        anchors = [state[name] for name in ('query_generator.centers', 'query_generator.sizes') if name in state]
        result = {self.anchors: torch.cat(anchors, dim=1)} if anchors else {}
        for name, tensor in state.items():
            if name.startswith(('query_generator.centers', 'query_generator.sizes')):
                continue
            packed = renamed(name, inverse(self.packed))
            if packed and ROLE.search(packed):
                rows = [state[ROLE.sub(f'.{role}.', name)] for role in ROLES]
                result[ROLE.sub('.in_proj_', packed)] = torch.cat(rows)
            elif theirs := renamed(name, inverse(self.pairs)):
                result[theirs] = tensor
            else:
                raise CheckpointError(f"'{name}' has no place in a DAB-DETR of {self.source}")
        return result


def inverse(pairs: Pairs) -> Pairs:
    """Ours first."""
    return tuple((right, left) for left, right in pairs)


def renamed(name: str, pairs: Pairs) -> str | None:
    """The right side of the first pair whose left side ``name`` belongs to, with its indices and
    its rest.
    """
    for left, right in pairs:
        if found := _pattern(left).fullmatch(name):
            *indices, rest = found.groups(default='')
            return right.replace('#', '{}').format(*indices) + rest
    return None


@functools.cache
def _pattern(side: str) -> re.Pattern[str]:
    """Matches the names that belong to one side of a pair; its groups are the indices, and the
    rest.
    """
    return re.compile(re.escape(side).replace(r'\#', r'(\d+)') + r'(\..*)?')
