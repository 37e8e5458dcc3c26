"""Every config can be exported, or says which part cannot.

The parts of all configs stand in a few representatives, which an ordinary test run traces and compares with the
detector.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdet_dab.deploy import exporter
from mmdet_dab.deploy.exporter import Request, build_of_parts, export, program_of
from mmdet_dab.deploy.tracing import traced
from mmdet_dab.deploy.verify import batches, compared, difference, eager, refusal
from mmdet_dab.errors import ConfigError
from mmdet_dab.registry import MODELS
from tests.helpers import every_config, tiny
from tests.helpers.stand_in_timm import stand_in

#: Their parts are those of all configs; see the first test.
REPRESENTATIVES = (
    'ImageNet start',
    'custom/bccd_r18_c4_55e.py',
    'dab_detr_swin_t_50e.py',
    'dab_detr_r101_dc5_fixxy_3pat_50e.py',
    'dab_deformable_detr_r50_50e_released.py',
    'mix/anchor_masked_dab_detr_r50_50e.py',
    'mix/anchor_content_dab_detr_r50_50e.py',
    'mix/group_dab_detr_r50_12e.py',
    'mix/two_stage_dn_dab_deformable_detr_r50_50e.py',
    'mix/road/3_points_shapes.py',
    'mix/conditional_detr_r50_50e.py',
    'mix/detr_r50_150e.py',
    *every_config.MMDETS,
)
#: mmdet's DINO is no assembly of parts.
REFUSED = {'mix/mmdet_dino_matcher_r50_12e.py': 'DINO'}


def structures(without: tuple[str, ...] = ()) -> dict[frozenset[str], list[str]]:
    """What a detector is made of, except for some places -> the names of those that are."""
    found: dict[frozenset[str], list[str]] = {}
    for name in every_config.NAMES:
        if name not in REFUSED:
            parts = every_config.pieces(every_config.small(name).model)
            found.setdefault(frozenset(part for part in parts if not part.startswith(without)), []).append(name)
    return found


def shaken(name: str, backbone: dict | None = None) -> tuple[Request, Any]:
    """A request for a small detector of a config, and the detector, whose boxes and scores differ."""
    config = every_config.small(name)
    if backbone is not None:
        config.model.backbone = backbone
        config.model.neck.in_channels = list(MODELS.build(backbone).out_channels)
    request = Request(config, None, Path('model.onnx'))
    torch.manual_seed(0)
    model = build_of_parts(request)
    tiny.shake(model)
    return request, model.eval()


def test_the_parts_of_all_configs_stand_in_the_representatives():
    covered = frozenset().union(*(every_config.pieces(every_config.small(name).model) for name in REPRESENTATIVES))
    missing = {piece: names[0] for parts, names in structures().items() for piece in parts - covered}
    assert not missing


def check(name: str, path: Path | None = None, backbone: dict | None = None) -> None:
    """Trace a config, and compare what was traced, or the file that it is written to."""
    request, model = shaken(name, backbone)
    metadata = exporter.metadata_of(request, model)
    exported = traced(program_of(model, request, metadata), torch.float32)
    if path is not None:
        exporter.WRITERS[path.suffix](exported, path, metadata)
        assert refusal(list(compared(model, path, metadata)), 'float32') is None
        return
    program, differences = exported.module(), []
    for images, valid in batches():
        with torch.no_grad():
            found = tuple(part.numpy() for part in program(torch.from_numpy(images), torch.from_numpy(valid)))
        differences.append(difference(eager(model, images, valid), found, images.shape[2:]))
    assert refusal(differences, 'float32') is None


@pytest.mark.parametrize('name', REPRESENTATIVES)
def test_it_can_be_traced_for_any_batch_and_size(name: str):
    check(name)


@pytest.mark.slow
def test_a_backbone_of_timm(monkeypatch: pytest.MonkeyPatch):
    if importlib.util.find_spec('timm') is None:
        monkeypatch.setitem(sys.modules, 'timm', stand_in())
    check(
        'custom/bccd_r18_c4_55e.py', backbone=dict(type='TimmBackbone', model='resnet18', strides=(16,), weights=None)
    )


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
@pytest.mark.parametrize('name', REPRESENTATIVES)
def test_its_file_is_equal(name: str, suffix: str, tmp_path: Path):
    check(name, tmp_path / f'model{suffix}')


@pytest.mark.slow
def test_openvino_loads_content_that_is_computed_from_anchors(tmp_path: Path):
    """OpenVINO does not find the inputs of what is computed from weights that were expanded to the batch before."""
    check('mix/anchor_content_dab_detr_r50_50e.py', tmp_path / 'model.xml')


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_no_assembly_of_parts_is_refused_by_its_name(name: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=REFUSED[name]):
        export(Request(every_config.small(name), None, tmp_path / 'model.onnx'), lambda text: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('kind', 'part'), [(dict(as_two_stage=True, with_box_refine=True), 'as_two_stage')])
def test_what_our_assembly_lacks_is_refused_by_its_name(kind: dict, part: str, tmp_path: Path):
    config = every_config.small('mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py')
    config.model.update(kind)
    with pytest.raises(ConfigError, match=part):
        export(Request(config, None, tmp_path / 'model.onnx'), lambda text: None)


@pytest.mark.slow
@pytest.mark.thorough
def test_every_structure_can_be_traced():
    """A config of each, backbones and necks aside: these stand in the representatives."""
    for names in structures(without=('backbone', 'neck', 'norm_cfg')).values():
        if not set(names) & set(REPRESENTATIVES):
            check(names[0])
