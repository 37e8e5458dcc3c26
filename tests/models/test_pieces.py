"""A batch in pieces: the same outputs, in as many calls as there are pieces."""

from __future__ import annotations

import pytest
import torch

from mmdet_dab.models import pieces
from tests.helpers import tiny


@pytest.mark.parametrize('kind', ['three sizes', 'same size', 'one image'])
def test_pieces_give_the_outputs_of_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pieces, 'PIXELS', 1)
    monkeypatch.setattr(pieces, 'CELLS', 1)
    model = tiny.build()
    images, samples = tiny.batch(**tiny.BATCHES[kind])
    with torch.no_grad():
        expected = model(images, samples, mode='tensor')
        seen: list[int] = []
        model.backbone.layer1.register_forward_hook(lambda _, __, out: seen.append(len(out)))
        model.encoder.layers[0].register_forward_hook(lambda _, __, out: seen.append(len(out)))
        pieces.in_pieces(model.backbone, model.encoder)
        found = model(images, samples, mode='tensor')
    assert seen == [1] * (2 * len(images))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_small_images_stay_together():
    model = tiny.build()
    seen: list[int] = []
    model.backbone.layer1.register_forward_hook(lambda _, __, out: seen.append(len(out)))
    model.encoder.layers[0].register_forward_hook(lambda _, __, out: seen.append(len(out)))
    pieces.in_pieces(model.backbone, model.encoder)
    images, samples = tiny.batch(**tiny.BATCHES['three sizes'])
    with torch.no_grad():
        model(images, samples, mode='tensor')
    assert seen == [3, 3]
