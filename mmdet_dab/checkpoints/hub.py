"""Weights from a repository of the Hugging Face hub: ``hf://OWNER/REPOSITORY[@REVISION][:FILE]``.

Cache, offline mode (``HF_HUB_OFFLINE=1``), token and mirror are those of ``huggingface_hub``. Only
``model.safetensors`` is read unless a file is named; a named pickle is read as weights only.
Importing this module makes mmengine read such addresses wherever a checkpoint is asked for
(``load_from``, ``init_cfg=dict(type='Pretrained', checkpoint=...)``, ``init_detector``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmdet_dab.checkpoints.known_layouts import recognise
from mmdet_dab.checkpoints.layout import Conversion
from mmdet_dab.checkpoints.loading import read_weights
from mmdet_dab.checkpoints.match import config_name
from mmdet_dab.errors import CheckpointError

SCHEME = 'hf://'
ADDRESS = re.compile(r'hf://(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[^:@]+))?(:(?P<file>[^:]+))?')
#: What is read if no file is named.
WEIGHTS = 'model.safetensors'
#: What repositories hold that have no safetensors.
PICKLES = ('pytorch_model.bin', 'model.pth', 'model.pt')
SETTINGS = 'config.json'


class UnreachableError(CheckpointError):
    """The hub cannot be asked, and the cache has not what is wanted."""


class HubWeights(NamedTuple):
    """What a repository holds, in our layout.

    Attributes:
        checkpoint: as mmengine saves one: ``state_dict``, and ``meta`` with the class names.
        config: name of the file in ``configs/`` for these weights; None if it is not one of the
            published models.
        classes: names by class row; empty if the repository does not say.
    """

    checkpoint: dict[str, Any]
    config: str | None
    classes: tuple[str, ...]


class Address(NamedTuple):
    """An address, taken apart."""

    text: str
    repo: str
    revision: str | None
    file: str | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            CheckpointError: it has another form.
        """
        match = ADDRESS.fullmatch(text)
        if match is None:
            raise CheckpointError(f'{text}: an address on the hub has the form hf://OWNER/REPOSITORY[@REVISION][:FILE]')
        return cls(text, match['repo'], match['revision'], match['file'])


def is_address(source: object) -> bool:
    """Whether this is an address on the hub, and not a file or another URL."""
    return str(source).startswith(SCHEME)


def resolve_weights(source: str) -> HubWeights:
    """Fetch the weights of a repository, or take them from the cache, and convert them.

    Args:
        source: such as ``hf://IDEA-Research/dab-detr-resnet-50``.

    Raises:
        CheckpointError: the address or repository does not exist, cannot be reached and is not in
            the cache, has only pickles, is in an unknown layout, or names fewer classes than it has
            rows. The message begins with the address.
    """
    address = Address.parse(source)
    path = _fetch_weights(address)
    settings = _settings(address)
    try:
        weights, _ = read_weights(path)
        layout = recognise(weights)
        conversion = layout.convert(weights)
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from error
    classes = _classes(address, conversion, settings)
    config = _published(conversion.state, settings)
    origin = dict(file=source, layout=layout.name, config=config)
    meta: dict[str, Any] = dict(converted_from=origin)
    if classes:
        meta['dataset_meta'] = dict(classes=classes)
    return HubWeights(dict(meta=meta, state_dict=conversion.state), config, classes)


#: Weights that were looked at and not loaded yet, by address.
_looked_at: dict[str, HubWeights] = {}


def look_at(source: str) -> HubWeights:
    """As :func:`resolve_weights`, for a check before the weights are loaded: they are kept until
    :func:`load_from_hub` takes them, so that they are converted once."""
    if source not in _looked_at:
        _looked_at[source] = resolve_weights(source)
    return _looked_at[source]


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_hub(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader for such addresses; tensors come on the CPU, from where the Runner copies
    them.
    """
    return (_looked_at.pop(filename, None) or resolve_weights(filename)).checkpoint


def _fetch_weights(address: Address) -> Path:
    if address.file is not None:
        return _fetch(address, address.file)
    try:
        return _fetch(address, WEIGHTS)
    except CheckpointError as error:
        ask = not isinstance(error, UnreachableError)  # it would be asked again and again, for half a minute
        pickle = next((name for name in PICKLES if _has(address, name, ask)), None)
        if pickle is None:
            raise
        raise CheckpointError(
            f'{address.text}: the repository has no {WEIGHTS}, only pickled weights ({pickle}). If you trust it, name '
            f'the file: {address.text}:{pickle}'
        ) from error


def _fetch(address: Address, name: str) -> Path:
    """The file in the cache, downloaded if it is not there yet."""
    hub = _hub(address)
    try:
        return Path(hub.hf_hub_download(address.repo, name, revision=address.revision))
    except hub.errors.HFValidationError as error:
        raise CheckpointError(f'{address.text}: {error}') from error
    except hub.errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{address.text}: the repository has no revision '{address.revision}'") from error
    except hub.errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f'{address.text}: there is no such repository, or it is private: check the name, or log in with '
            'hf auth login'
        ) from error
    except hub.errors.LocalEntryNotFoundError as error:
        raise UnreachableError(
            f'{address.text}: {name} is not in the cache of the hub ({hub.constants.HF_HUB_CACHE}), and the hub cannot '
            'be reached: connect to the network (and unset HF_HUB_OFFLINE), copy the cache of another machine there, '
            'or name a file or another start'
        ) from error
    except hub.errors.EntryNotFoundError as error:
        raise CheckpointError(f'{address.text}: the repository has no {name}') from error
    except Exception as error:  # of whatever client the hub uses: those of httpx are no OSErrors
        raise UnreachableError(
            f'{address.text}: {name} cannot be downloaded: {error}. Try again, or name a file or another start'
        ) from error


def _has(address: Address, name: str, ask: bool) -> bool:
    """Whether the repository has the file, by its cache or by asking the hub, if it is to be asked;
    nothing is downloaded.
    """
    hub = _hub(address)
    if isinstance(hub.try_to_load_from_cache(address.repo, name, revision=address.revision), str):
        return True
    try:
        return ask and hub.file_exists(address.repo, name, revision=address.revision)
    except Exception:  # the hub went away, in the words of whatever client it uses
        return False


def _hub(address: Address) -> Any:
    """The package, which is needed for such addresses alone."""
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise CheckpointError(
            f'{address.text} needs the package huggingface_hub: pip install huggingface_hub safetensors'
        ) from error
    return huggingface_hub


def _settings(address: Address) -> dict[str, Any]:
    """``config.json`` of the repository; empty if it has none."""
    try:
        path = _fetch(address, SETTINGS)
    except CheckpointError:
        return {}
    try:
        settings = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CheckpointError(f'{address.text}: {SETTINGS} is not JSON ({error})') from error
    return settings if isinstance(settings, dict) else {}


def _classes(address: Address, conversion: Conversion, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names by row, from ``id2label``."""
    names = settings.get('id2label') or {}
    rows = conversion.class_rows
    missing = [row for row in range(rows) if str(row) not in names]
    if names and missing:
        raise CheckpointError(
            f'{address.text}: {SETTINGS} names {len(names)} classes, but the weights have {rows} class rows '
            f'(id2label lacks {missing[0]})'
        )
    return tuple(str(names[str(row)]) for row in range(rows)) if names else ()


def _published(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str | None:
    """The config of a published model; DC5 and fixed centers, which tensors cannot tell, are in the
    settings.
    """
    name = config_name(state)
    if name is None or not name.startswith('dab_detr_r'):
        return name
    stem, _, rest = name.removeprefix('dab_detr_').partition('_')
    dilated = '_dc5' if settings.get('dilation') else ''
    fixed = '_fixxy' if settings.get('random_refpoints_xy') else ''
    return f'dab_detr_{stem}{dilated}{fixed}_{rest}'
