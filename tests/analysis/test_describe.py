"""A detector as its parts, and what differs between two."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_dab.analysis import structure
from mmdet_dab.config import build_detector, load_config
from mmdet_dab.errors import UserError
from mmdet_dab.models.shared_values import hand_down
from tests.helpers import my_parts, tiny
from tests.helpers.commands import call
from tests.helpers.paths import CONFIGS
from tests.helpers.tiny_task import MODEL

PLAIN = CONFIGS / 'dab_detr_r50_50e.py'
YOURS = f'yours: {os.path.relpath(my_parts.__file__)}'


def describe(**overrides) -> structure.Part:
    """The tiny detector with overrides."""
    cfg = Config(dict(model=tiny.tiny_config(**overrides)))
    return structure.describe(build_detector(cfg), cfg)


def lines(text: str) -> list[list[str]]:
    """The words of every line below the header, without the alignment; columns are two blanks or more apart."""
    return [re.split(' {2,}', line.strip()) for line in text.splitlines()[1:]]


def find(part: structure.Part, path: str) -> structure.Part:
    """``find(model, 'decoder/layers.0')``."""
    for name in path.split('/'):
        part = next(child for child in part.parts if child.name == name)
    return part


# --- One detector


def test_tree_of_the_tiny_detector():
    """Every line by hand. Parameters: width 32, 4 · 7 anchors, feed-forward 512; M is a million.

    An attention of the encoder has 4 projections of 32 · 32 + 32 = 1056, one of the decoder 6, and 7 in the first
    layer's cross-attention; a feed-forward has 2 · 32 · 512 + 512 + 32 + 1, and a layer of the decoder three norms of
    2 · 32. The positional query has 5 such projections, one of which takes 64 channels, and 32 · 2 + 2 for w and h.
    """
    ff = 2 * 32 * 512 + 512 + 32 + 1
    expected = {
        'encoder/layers.0': ('EncoderLayer', 4 * 1056 + ff + 4 * 32),
        'encoder/layers.0/self_attention': ('CellSelfAttention', 4 * 1056),
        'encoder/layers.0/feed_forward': ('FeedForward', ff),
        'query_generator': ('AnchorQueryGenerator', 4 * 7),
        'query_generator/initial_anchors': ('NormalAnchors', 0),
        'decoder/layers.0': ('DecoderLayer', 13 * 1056 + ff + 6 * 32),
        'decoder/layers.0/cross_attention': ('ConditionalCrossAttention', 7 * 1056),
        'decoder/layers.2': ('DecoderLayer', 12 * 1056 + ff + 6 * 32),
        'decoder/layers.2/cross_attention': ('ConditionalCrossAttention', 6 * 1056),
        'decoder/positional_query': ('AnchorPositionalQuery', 5 * 1056 + 1024 + 66),
        'decoder/anchor_update': ('AnchorUpdate', 0),
        'bbox_head/matcher/costs.1': ('BoxL1Cost', 0),
    }
    whole = describe()
    for path, (kind, parameters) in expected.items():
        part = find(whole, path)
        assert (part.kind, part.origin, part.parameters) == (kind, 'ours', parameters), path
    for path, kind in {'neck': 'ChannelMapper', 'bbox_head/loss_iou': 'GIoULoss'}.items():
        part = find(whole, path)
        assert (part.kind, part.origin) == (kind, 'mmdet'), path


def test_parts_hold_all_parameters():
    """What is in no part of the model would go unseen."""
    cfg = Config(dict(model=tiny.tiny_config()))
    model = build_detector(cfg)
    whole = structure.describe(model, cfg)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert whole.parameters == sum(part.parameters for part in whole.parts) == total


def test_settings_are_those_of_the_config():
    whole = describe()
    assert find(whole, 'positional_encoder').settings == {'embed_dims': '32', 'box_temperature': 'None'}
    assert find(whole, 'backbone').settings['norm_cfg'] == 'BN(requires_grad=True)'
    assert find(whole, 'neck').settings['act_cfg'] == 'None'
    # A part has a line of its own instead.
    assert set(find(whole, 'decoder').settings) == {'num_layers', 'embed_dims'}


@pytest.fixture(scope='module')
def small() -> tuple[Config, structure.Part]:
    """The small detector, whose config says each value once."""
    cfg = Config.fromfile(CONFIGS / '_base_/models/dab_detr_small.py')
    cfg.model.decoder.layer.cross_attention.num_heads = 4
    return cfg, structure.describe(build_detector(cfg), cfg)


def test_values_that_are_handed_down_have_the_part_that_states_them(small):
    whole = small[1]
    assert find(whole, 'query_generator').handed_down == {'model': {'embed_dims': '128'}}
    assert find(whole, 'neck').handed_down == {'model': {'out_channels': '128'}}
    assert find(whole, 'bbox_head').handed_down['decoder'] == {'num_layers': '3'}
    layer = find(whole, 'decoder/layers.1')
    assert find(layer, 'feed_forward').handed_down == {'model': {'embed_dims': '128', 'hidden_dims': '512'}}
    assert find(layer, 'cross_attention').handed_down == {'model': {'embed_dims': '128'}}
    assert find(layer, 'cross_attention').settings == {'num_heads': '4'}
    assert re.search(r'out_channels=128 ← model', structure.format_parts(whole))


def test_handed_down_values_are_those_that_the_detector_builds_with(small):
    """The rules are written here once more: they agree with the detector's on every argument of its parts."""
    config = small[0].model.to_dict()
    names = ('neck', 'positional_encoder', 'tokenizer', 'encoder', 'query_generator', 'decoder', 'bbox_head')
    shared = {key: config[key] for key in ('embed_dims', 'hidden_dims', 'num_classes')}
    built = hand_down({name: config[name] for name in names}, shared)
    for name in names:
        added = {key: value for key, value in built[name].items() if key not in config[name]}
        handed = find(small[1], name).handed_down.values()
        assert {key: str(value) for key, value in added.items()} == {
            k: v for values in handed for k, v in values.items()
        }


def test_first_layer_has_its_own_settings():
    whole = describe()
    first, second = (find(whole, f'decoder/layers.{index}/cross_attention').settings for index in range(2))
    assert first == {**second, 'position_in_content': 'True'}


def test_equal_layers_share_lines():
    """Three layers, of which the first differs; the numbers are those of both others together."""
    whole = describe()
    found = lines(structure.format_parts(whole))
    names = [line[0] for line in found]
    assert [name for name in names if name.startswith('layers.')] == ['layers.0', 'layers.0', 'layers.1-2']
    last = names.index('layers.1-2')
    assert found[last][1:3] == ['2 × DecoderLayer', 'ours']
    cross = [line for line in found if line[0] == 'cross_attention']
    assert [line[1] for line in cross] == ['ConditionalCrossAttention', '2 × ConditionalCrossAttention']
    assert [line[3] for line in cross] == ['7392', '0.013 M']  # 7 · 1056, 2 · 6 · 1056


def test_a_part_of_yours_is_named_with_its_file():
    whole = describe(decoder=dict(anchor_update=dict(_delete_=True, type='StillAnchors', patience=3)))
    part = find(whole, 'decoder/anchor_update')
    assert part == structure.Part('anchor_update', 'StillAnchors', YOURS, 3, {'patience': '3'}, ())


def test_detector_of_mmdet():
    """Its configs name no types in the transformer; the query embeddings are in no config at all."""
    cfg = load_config('mmdet::detr/detr_r50_8xb2-150e_coco.py', {})
    whole = structure.describe(build_detector(cfg), cfg)
    assert (whole.kind, whole.origin) == ('DETR', 'mmdet')
    layer = find(whole, 'decoder/layers.5')
    assert (layer.kind, layer.origin) == ('DetrTransformerDecoderLayer', 'mmdet')
    attention = find(layer, 'cross_attn')
    assert (attention.kind, attention.origin, attention.settings['num_heads']) == ('MultiheadAttention', 'mmcv', '8')
    assert find(whole, 'train_cfg/assigner/match_costs.2').kind == 'IoUCost'
    embedding = find(whole, 'query_embedding')
    assert (embedding.kind, embedding.origin, embedding.parameters) == ('Embedding', 'torch', 100 * 256)
    assert sum(part.parameters for part in whole.parts) == whole.parameters


def test_shared_parameters_count_for_the_first_part():
    """A matrix of the decoder that is the encoder's: 32 · 32."""
    cfg = Config(dict(model=tiny.tiny_config()))
    model = build_detector(cfg)
    before = structure.describe(model, cfg)
    model.decoder.layers[1].self_attention.value.weight = model.encoder.layers[0].self_attention.value.weight
    after = structure.describe(model, cfg)
    assert find(after, 'encoder') == find(before, 'encoder')
    for path in ('decoder', 'decoder/layers.1', 'decoder/layers.1/self_attention'):
        assert find(before, path).parameters - find(after, path).parameters == 32 * 32
    assert before.parameters - after.parameters == 32 * 32


def test_a_type_that_is_in_no_registry_is_no_error():
    cfg = Config(dict(model=tiny.tiny_config()))
    model = build_detector(cfg)
    cfg.model.neck.extra = dict(type='Nowhere', size=3)
    part = find(structure.describe(model, cfg), 'neck/extra')
    assert part == structure.Part('extra', 'Nowhere', 'not found', 0, {'size': '3'}, ())


def test_building_a_description_changes_no_config():
    cfg = load_config('mmdet::detr/detr_r50_8xb2-150e_coco.py', {})
    before = cfg.model.to_dict()
    build_detector(cfg)
    assert cfg.model.to_dict() == before


# --- Two detectors


def changes(first: structure.Part, second: structure.Part) -> list[list[str]]:
    return lines(structure.format_changes(structure.compare(first, second)))


def test_equal_detectors_do_not_differ():
    assert structure.compare(describe(), describe()) is None


def test_one_setting_and_its_parameters():
    """Three patterns of 32 channels."""
    first, second = describe(), describe(query_generator=dict(num_patterns=3))
    change = structure.compare(first, second)
    assert (change.after - change.before, change.what) == (96, ())
    assert change.parts == (structure.Change('query_generator', 28, 28 + 96, ('num_patterns: 0 → 3',), ()),)


def test_a_setting_without_parameters():
    change = structure.compare(describe(), describe(positional_encoder=dict(temperature=10)))
    assert change.before == change.after
    (part,) = change.parts
    assert part.what == ('temperature: 20 → 10',)


def test_a_setting_that_only_one_config_states():
    plain, stated = describe(), describe(neck=dict(bias=True))
    assert [structure.compare(*pair).parts[0].what for pair in ((plain, stated), (stated, plain))] == [
        ('bias: auto → True',),
        ('bias: True → auto',),
    ]


def test_another_type_and_a_part_that_is_gone():
    other = describe(
        query_generator=dict(initial_anchors=dict(type='mmdet_dab.UniformAnchors')),
        decoder=dict(anchor_update=None),
    )
    generator, decoder = structure.compare(describe(), other).parts
    (anchors,) = generator.parts
    assert anchors.what == ('type: NormalAnchors (ours) → UniformAnchors (ours)',)
    assert decoder.what == ()  # None, as it is by default
    (update,) = decoder.parts
    assert (update.what, update.before, update.after) == (('only in the first: AnchorUpdate (ours)',), 0, None)


def test_fewer_layers_share_a_line():
    """Of 3 decoder layers the last two are gone, each with 12 · 1056 + 33313 + 6 · 32 parameters."""
    second = describe(decoder=dict(num_layers=1, positional_query=dict(position_scale=None)))
    row = next(row for row in changes(describe(), second) if row[0] == 'layers.1-2')
    assert row[1:] == [
        '0.092 M → -',
        'only in the first: DecoderLayer (ours)',
    ]
    # The first layer is the same in both, and not mentioned.
    assert 'layers.0' not in [row[0] for row in changes(describe(), second)]


# --- The tool


def test_tool_prints_every_part(capsys):
    call('describe', MODEL, '--cfg-options', 'model.decoder.num_layers=4')
    printed = capsys.readouterr().out
    assert 'layers.1-3' in printed
    lines = printed.splitlines()
    header, first, *_ = [line for line in lines if 'OneDL' not in line]  # which onedl-mmdetection prints
    assert header.split() == ['part', 'type', 'from', 'parameters', 'settings']
    assert first.split()[:3] == ['model', 'ComposedDETR', 'ours']


def test_tool_compares_two(capsys):
    call('describe', PLAIN, CONFIGS / 'dab_detr_r50_3pat_50e.py')
    title, _, _, *found = capsys.readouterr().out.splitlines()
    assert title == f'{PLAIN} → {CONFIGS / "dab_detr_r50_3pat_50e.py"}'
    assert [line.split() for line in found] == [
        ['model', '43.722', 'M', '→', '43.723', 'M'],
        ['query_generator', '1200', '→', '1968', 'num_patterns:', '0', '→', '3'],
    ]


def test_tool_says_when_nothing_differs(capsys):
    call('describe', PLAIN, CONFIGS / 'dab_detr_r50_12e.py')
    assert capsys.readouterr().out.endswith('describe the same detector.\n')


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('missing.py', r'config missing\.py'),
        ('nobody::detr.py', r"config nobody::detr\.py: there is no installed package 'nobody'"),
        ('mmdet::missing.py', r'config mmdet::missing\.py'),
        (CONFIGS / '_base_/default_runtime.py', r"default_runtime\.py has no 'model'"),
    ],
)
def test_what_is_no_detector_is_refused(config, message, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        call('describe', config)
