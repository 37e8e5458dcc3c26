"""The loop: what reaches which layer, with and without gradient."""

from __future__ import annotations

import pytest
import torch

from mmdet_dab.models.decoder import merged
from mmdet_dab.registry import MODELS
from tests.helpers import tiny


def test_references_are_what_boxes_are_offsets_of():
    """Reference 0 is the initial anchor; reference l+1 = σ(σ⁻¹(reference l) + MLP_box(un-normed content))."""
    model = tiny.build()
    seen = {}

    def remember(module, inputs, output):
        seen.setdefault('content', []).append(output)

    for layer in model.decoder.layers:
        layer.register_forward_hook(remember)
    pictures, samples = tiny.batch()
    with torch.no_grad():
        output = model.decode(pictures, samples)
    torch.testing.assert_close(output.references[0, 0], model.query_generator.anchors())
    for layer in range(2):
        logits = output.references[layer].logit() + model.bbox_head.box_offset(seen['content'][layer], layer)
        torch.testing.assert_close(output.references[layer + 1], logits.sigmoid(), rtol=0, atol=1e-5)
        torch.testing.assert_close(output.states[layer], model.decoder.norm(seen['content'][layer]))


def test_last_update_is_not_computed():
    model = tiny.build()
    calls = []
    model.decoder.anchor_update.register_forward_hook(lambda *_: calls.append(1))
    model.decode(*tiny.batch())
    assert len(calls) == len(model.decoder.layers) - 1


def test_box_loss_reaches_the_previous_update_and_no_further():
    """The head's reference has gradient, the decoder's anchor is detached (design: fact 6)."""
    model = tiny.build(bbox_head=dict(per_layer=('box',))).train()
    output = model.decode(*tiny.batch())
    _, boxes = model.bbox_head(output)
    first, second, third = model.bbox_head.box_branches
    boxes[2].sum().backward()
    norms = [branch.layers[-1].weight.grad for branch in (first, second, third)]
    assert norms[0] is None or not norms[0].any()
    assert norms[1].any()
    assert norms[2].any()


def test_references_carry_gradient_over_one_update_and_no_further():
    """Reference 0 and 1 reach the initial anchors, reference 2 starts from a detached one."""
    model = tiny.build(decoder=dict(positional_query=dict(size_modulation=None))).train()
    references = model.decode(*tiny.batch()).references
    sizes = model.query_generator.sizes
    assert (torch.autograd.grad(references[0].sum(), sizes, retain_graph=True)[0] != 0).all()
    update = model.bbox_head.box_branches[0].layers[-1].bias
    gradients = [torch.autograd.grad(reference.sum(), update, retain_graph=True)[0] for reference in references[1:]]
    # d sum σ(σ⁻¹(A) + b) / db = sum of A'(1 − A'), of this update alone.
    for gradient, moved in zip(gradients, references[1:], strict=True):
        torch.testing.assert_close(gradient, (moved * (1 - moved)).sum((0, 1)), rtol=1e-4, atol=1e-5)


def test_update_can_be_switched_off():
    model = tiny.build(decoder=dict(anchor_update=None))
    output = model.decode(*tiny.batch())
    assert torch.equal(output.references[0], output.references[2])


@pytest.mark.parametrize(('update', 'twice'), [('AnchorUpdate', True), ('DetachedAnchorUpdate', False)])
def test_boxes_may_be_measured_from_detached_anchors(update, twice):
    """The same boxes, and no gradient beyond the layer's own offset."""
    model, batch = tiny.build(decoder=dict(anchor_update=dict(type=update))).train(), tiny.batch()
    references = model.decode(*batch).references
    assert torch.equal(references, tiny.build().train().decode(*batch).references)
    bias = model.bbox_head.box_branches[0].layers[-1].bias
    (gradient,) = torch.autograd.grad(references.sum(), bias, allow_unused=True)
    assert (gradient is not None) == twice


def test_anchors_are_encoded_in_the_frame_that_the_config_says():
    """In parts of the image, or of the canvas, of which the second image fills 2/3 in x and 3/4 in y."""
    batch = tiny.batch(sizes=[(64, 96), (48, 64)])
    first = []
    for frame in (None, dict(type='CanvasFrame')):
        model, seen = tiny.build(decoder=dict(anchor_frame=frame)), []
        model.decoder.positional_query.register_forward_hook(lambda part, inputs, _, seen=seen: seen.append(inputs[0]))
        model.decode(*batch)
        first.append(seen[0].anchors)
    in_image, on_canvas = first
    torch.testing.assert_close(in_image[0], model.query_generator.anchors())
    torch.testing.assert_close(on_canvas[0], in_image[0])
    torch.testing.assert_close(on_canvas[1], in_image[1] * torch.tensor([2 / 3, 3 / 4, 2 / 3, 3 / 4]))


@pytest.mark.parametrize('name', ['AnchorDecoder', 'QueryDecoder'])
def test_former_names_are_the_same_decoder(name):
    assert MODELS.get(f'mmdet_dab.{name}') is MODELS.get('TransformerDecoder')


def test_first_layer_differs_by_config_alone():
    model = tiny.build()
    first, second, third = model.decoder.layers
    assert first.cross_attention.query_position is not None
    assert second.cross_attention.query_position is None
    assert third.cross_attention.query_position is None
    same = tiny.build(decoder=dict(first_layer=None))
    assert same.decoder.layers[0].cross_attention.query_position is None


def test_merged_changes_neither_side():
    base, override = {'a': {'b': 1, 'c': 2}, 'd': 3}, {'a': {'b': 5}, 'e': {'f': 6}}
    assert merged(base, override) == {'a': {'b': 5, 'c': 2}, 'd': 3, 'e': {'f': 6}}
    assert base == {'a': {'b': 1, 'c': 2}, 'd': 3}
    assert override == {'a': {'b': 5}, 'e': {'f': 6}}


def test_no_layers_is_refused():
    with pytest.raises(ValueError, match='num_layers=0 must be at least 1'):
        tiny.build(decoder=dict(num_layers=0))
