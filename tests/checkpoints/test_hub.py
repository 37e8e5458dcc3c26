"""Weights by their address on the hub, from a local cache as ``huggingface_hub`` lays it out, without network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_dab import preflight
from mmdet_dab.checkpoints import CheckpointError, hub, load_weights, resolve_weights
from mmdet_dab.checkpoints.hub import Address
from mmdet_dab.config import build
from tests.helpers import tiny
from tests.helpers.huggingface import THEIR_WAY, build_ours, build_theirs, outputs

REPOSITORY = 'someone/dab-detr-tiny'
COMMIT = '0123456789abcdef0123456789abcdef01234567'
CLASSES = ('cat', 'dog', 'bird')


class Cache:
    """The hub's cache in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snapshot(self, repository: str = REPOSITORY, commit: str = COMMIT, revision: str = 'main') -> Path:
        """The folder of a repository's files at a revision, which is noted."""
        folder = self.folder / f'models--{repository.replace("/", "--")}'
        (folder / 'refs').mkdir(parents=True, exist_ok=True)
        (folder / 'refs' / revision).write_text(commit)
        (folder / 'snapshots' / commit).mkdir(parents=True, exist_ok=True)
        return folder / 'snapshots' / commit


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    return Cache(tmp_path / 'hub')


def save_theirs(folder: Path, **changes: Any) -> torch.nn.Module:
    """Write the tiny model as transformers does, and return it."""
    theirs = build_theirs()
    theirs.config.id2label = dict(enumerate(CLASSES))
    theirs.save_pretrained(folder)
    config = json.loads((folder / 'config.json').read_text()) | changes
    (folder / 'config.json').write_text(json.dumps(config))
    return theirs


def test_weights_that_are_looked_at_first_are_converted_once(monkeypatch: pytest.MonkeyPatch):
    made = []

    def resolve(source: str) -> hub.HubWeights:
        made.append(source)
        return hub.HubWeights(dict(state_dict={'number': len(made)}), None, ())

    monkeypatch.setattr(hub, 'resolve_weights', resolve)
    hub.look_at('hf://a/b')
    preflight.check_checkpoint('hf://a/b')
    assert CheckpointLoader.load_checkpoint('hf://a/b')['state_dict'] == {'number': 1}
    assert CheckpointLoader.load_checkpoint('hf://a/b')['state_dict'] == {'number': 2}


def test_a_repository_becomes_a_checkpoint_that_computes_the_same(cache: Cache):
    theirs = save_theirs(cache.snapshot())
    checkpoint, config, classes = resolve_weights(f'hf://{REPOSITORY}')
    assert classes == CLASSES
    assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES
    assert checkpoint['meta']['converted_from']['layout'] == 'huggingface'
    assert config is None  # no published model is so small
    ours = build_ours()
    assert load_weights(ours, f'hf://{REPOSITORY}')['classes'] == CLASSES
    for found, expected in outputs(ours, theirs):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_mmengine_takes_the_address_wherever_it_takes_a_checkpoint(cache: Cache):
    save_theirs(cache.snapshot())
    checkpoint = CheckpointLoader.load_checkpoint(f'hf://{REPOSITORY}', map_location='cpu')
    counters = {name for name in build_ours().state_dict() if name.endswith('num_batches_tracked')}
    assert checkpoint['state_dict'].keys() == build_ours().state_dict().keys() - counters


def test_a_detector_is_built_with_weights_by_their_address(cache: Cache):
    theirs = save_theirs(cache.snapshot())
    detector = build(Config(dict(model=tiny.tiny_config(**THEIR_WAY))), f'hf://{REPOSITORY}')
    assert tuple(detector.dataset_meta['classes']) == CLASSES
    for found, expected in outputs(detector, theirs):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_is_missing_on_the_hub_is_found_before_work(cache: Cache):
    with pytest.raises(CheckpointError, match='hf://nobody/nothing'):
        preflight.check_checkpoint('hf://nobody/nothing')


@pytest.mark.parametrize('address', [f'hf://{REPOSITORY}@v2', f'hf://{REPOSITORY}@{COMMIT}'])
def test_a_revision_by_name_and_by_commit(cache: Cache, address: str):
    save_theirs(cache.snapshot(revision='v2'))
    assert resolve_weights(address).classes == CLASSES


@pytest.mark.parametrize(
    ('blocks', 'settings', 'config'),
    [
        (6, {}, 'dab_detr_r50_50e.py'),
        (6, {'dilation': True}, 'dab_detr_r50_dc5_50e.py'),
        (23, {'dilation': True, 'random_refpoints_xy': True}, 'dab_detr_r101_dc5_fixxy_50e.py'),
    ],
)
def test_the_config_of_a_published_model_is_found(cache: Cache, blocks: int, settings: dict, config: str):
    """By the tensors, and by what config.json says of things that have none."""
    from safetensors.torch import save_file

    body = 'model.backbone.conv_encoder.model.encoder.stages.2.layers'
    names = ['model.query_refpoint_embeddings.weight', 'class_embed.weight', 'class_embed.bias']
    weights = {name: torch.zeros(2, 4) for name in names}
    weights |= {f'{body}.{block}.layer.2.convolution.weight': torch.zeros(1) for block in range(blocks)}
    weights['model.backbone.conv_encoder.model.embedder.embedder.convolution.weight'] = torch.zeros(1)
    folder = cache.snapshot()
    save_file(weights, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps({'id2label': {'0': 'a', '1': 'b'}, **settings}))
    assert resolve_weights(f'hf://{REPOSITORY}').config == config


def test_pickles_are_read_only_when_they_are_named(cache: Cache):
    theirs = save_theirs(cache.snapshot())
    folder = cache.snapshot()
    torch.save(theirs.state_dict(), folder / 'pytorch_model.bin')
    (folder / 'model.safetensors').unlink()
    with pytest.raises(CheckpointError, match=r'hf://someone/dab-detr-tiny:pytorch_model\.bin'):
        resolve_weights(f'hf://{REPOSITORY}')
    assert resolve_weights(f'hf://{REPOSITORY}:pytorch_model.bin').classes == CLASSES


def test_a_half_download_is_refused(cache: Cache):
    save_theirs(cache.snapshot())
    file = cache.snapshot() / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r'^hf://someone/.*cut off'):
        resolve_weights(f'hf://{REPOSITORY}')


def test_what_is_not_in_the_cache_is_named_without_network(cache: Cache):
    with pytest.raises(CheckpointError, match=r'hf://nobody/nothing: model\.safetensors .*cache.*HF_HUB_OFFLINE'):
        resolve_weights('hf://nobody/nothing')


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        ('RepositoryNotFoundError', 'no such repository'),
        ('RevisionNotFoundError', 'revision'),
        ('EntryNotFoundError', r'model\.safetensors'),
        ('HfHubHTTPError', 'cannot be downloaded'),
    ],
)
def test_what_the_hub_answers_is_told_with_the_address(cache: Cache, monkeypatch, error: str, words: str):
    import huggingface_hub
    from huggingface_hub import errors

    def fail(*_: Any, **__: Any) -> None:
        kind = getattr(errors, error)
        raise kind.__new__(kind, 'refused')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', fail)
    with pytest.raises(CheckpointError, match=rf'^hf://someone/dab-detr-tiny@v9: .*{words}'):
        resolve_weights(f'hf://{REPOSITORY}@v9')


def test_without_network_the_hub_is_asked_once(cache: Cache, monkeypatch):
    """Not again for every name of a pickle; and errors of its client, which may be of any type, are one message."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    class ClientError(Exception):
        pass

    asked = []

    def fail(error: Exception):
        def ask(*args: object, **kwargs: object):
            asked.append(args)
            raise error

        return ask

    monkeypatch.setattr(huggingface_hub, 'file_exists', fail(ClientError('no name service')))
    for error in (LocalEntryNotFoundError('offline'), ClientError('no name service')):
        monkeypatch.setattr(huggingface_hub, 'hf_hub_download', fail(error))
        with pytest.raises(CheckpointError, match='hf://nobody/nothing: '):
            resolve_weights('hf://nobody/nothing')
    assert len(asked) == 2


@pytest.mark.parametrize('labels', [{'0': 'cat'}, {'0': 'cat', '1': 'dog', '5': 'bird'}])
def test_fewer_names_than_class_rows(cache: Cache, labels: dict[str, str]):
    save_theirs(cache.snapshot(), id2label=labels)
    with pytest.raises(CheckpointError, match=r'config\.json.*3 class rows'):
        resolve_weights(f'hf://{REPOSITORY}')


def test_another_architecture_is_refused(cache: Cache):
    from safetensors.torch import save_file

    save_file({'bert.embeddings.weight': torch.zeros(1)}, cache.snapshot() / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'^hf://someone/dab-detr-tiny: .*bert\.embeddings\.weight'):
        resolve_weights(f'hf://{REPOSITORY}')


@pytest.mark.parametrize('address', ['hf://', 'hf://name', 'hf://a/b/c', 'hf://a/b@', 'hf://a/b:', 'hf:/a/b'])
def test_addresses_of_another_form_are_refused(address: str):
    with pytest.raises(CheckpointError, match='hf://OWNER/REPOSITORY'):
        resolve_weights(address)


def test_an_address_taken_apart():
    assert Address.parse('hf://a/b.c-d')[1:] == ('a/b.c-d', None, None)
    assert Address.parse('hf://a/b@refs/pr/3:x/y.safetensors')[1:] == ('a/b', 'refs/pr/3', 'x/y.safetensors')


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match='pip install huggingface_hub'):
        resolve_weights(f'hf://{REPOSITORY}')
