"""Hostile and broken checkpoints."""

from __future__ import annotations

import builtins
import copy
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmdet_dab.checkpoints.loading import read_checkpoint
from mmdet_dab.errors import shown

#: Who must refuse a file. ``FIT`` is all that need every weight of a model: a training run warns of
#: those that it begins anew, and mmdet's ``init_detector`` of those that it leaves as they were.
ALL, FIT, RESUME, NOBODY, ANY = 'all', 'fit', 'resume', 'nobody', 'any'


@dataclass(frozen=True)
class Variant:
    """A checkpoint file.

    Attributes:
        name: in words; the file is called after it.
        write: writes the file.
        refused_by: every tool, those that need every weight, ``--resume`` alone, nobody, or any.
        suffix: of the file.
    """

    name: str
    write: Callable[[Path], object]
    refused_by: str
    suffix: str = '.pth'


def variants(good: Path, mark: Path, folder: Path) -> Iterator[Variant]:
    """All of them.

    Args:
        good: a sound checkpoint of a training run.
        mark: a file that code in a checkpoint writes if it is run.
        folder: of files that a checkpoint must not touch.
    """
    content = read_checkpoint(good)
    yield Variant('sound', lambda path: path.write_bytes(good.read_bytes()), NOBODY)
    yield from _with_code(content, mark)
    yield from _with_texts_and_paths(content, mark, folder)
    yield from _of_other_content(content)
    yield from _that_take_memory(good, content)
    yield from _of_other_bytes(good)
    yield from _safetensors(content)
    yield from _of_other_notes(content)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self.function, self.arguments
        return parts if self.state is None else (*parts, self.state)


def _with_code(content: dict[str, Any], mark: Path) -> Iterator[Variant]:
    """Pickles that call what they name."""
    touch = f'touch {mark}'
    write = f'open({str(mark)!r}, "w").close()'
    calls = {
        'os.system': Call(os.system, touch),
        'eval': Call(builtins.eval, write),
        'exec': Call(builtins.exec, write),
        'open': Call(builtins.open, str(mark), 'w'),
        'subprocess': Call(__import__('subprocess').Popen, ['touch', str(mark)]),
        'getattr': Call(getattr, HistoryBuffer, '__init__'),
        'import': Call(__import__, 'antigravity'),
        'torch.load': Call(torch.load, '/nowhere.pth'),
        'torch.hub': Call(torch.hub.load, 'a/b', 'c'),
        'numpy.load': Call(np.load, '/nowhere.npy', None, True),
        'pathlib': Call(Path('/').__class__, '/etc/passwd'),
        'code object': Call(compile, write, 'x', 'exec'),
        'shutil': Call(__import__('shutil').rmtree, str(mark.parent)),
        'remove': Call(os.remove, str(mark.parent / 'thesis.py')),
    }

    def at(key: str, value: Any) -> dict[str, Any]:
        return {**content, key: value}

    for name, call in calls.items():
        yield Variant(f'{name} as weights', lambda path, call=call: torch.save(at('state_dict', call), path), ALL)
    code = calls['os.system']
    for key in ('meta', 'optimizer', 'message_hub', 'param_schedulers', 'ema_state_dict', 'another'):
        yield Variant(f'os.system in {key}', lambda path, key=key: torch.save(at(key, code), path), ALL)
    for protocol in (0, 1, 3, 4, 5):
        yield Variant(
            f'os.system in protocol {protocol}',
            lambda path, protocol=protocol: torch.save({'state_dict': code}, path, pickle_protocol=protocol),
            ALL,
        )
        yield Variant(
            f'os.system in a bare pickle of protocol {protocol}',
            lambda path, protocol=protocol: path.write_bytes(pickle.dumps({'state_dict': code}, protocol=protocol)),
            ALL,
        )
    yield Variant(
        'os.system in the old form',
        lambda path: torch.save({'state_dict': code}, path, _use_new_zipfile_serialization=False),
        ALL,
    )
    yield Variant('a whole module', lambda path: torch.save(torch.nn.Linear(2, 2), path), ALL)
    hidden = copy.deepcopy(content)
    first = next(iter(hidden['state_dict']))
    hidden['state_dict'][first] = Call(torch._utils._rebuild_tensor_v2, code)
    yield Variant('os.system as an argument of a tensor', lambda path: torch.save(hidden, path), ALL)
    yield Variant('a program of TorchScript', _torchscript, ALL)
    state = Call(HistoryBuffer, state={'__class__': 1, '_statistics_methods': {'mean': 3}, 'update': 'mine'})
    odd = copy.deepcopy(content)
    odd['message_hub']['log_scalars'] = {'train/loss': state}
    yield Variant('a buffer with other attributes', lambda path: torch.save(odd, path), ANY)


def _torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(path))


def _changed(content: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        copied = copy.deepcopy(content)
        change(copied)
        torch.save(copied, path)

    return write


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Sets what stands under a path of keys, divided by slashes; * is the first key."""

    def change(content: dict[str, Any]) -> None:
        *path, last = key.split('/')
        node: Any = content
        for part in path:
            node = node[_key(node, part)]
        node[_key(node, last)] = value

    return change


def _key(node: Any, part: str) -> Any:
    if part == '*':
        return next(iter(node))
    return int(part) if isinstance(node, list) or (part.isdigit() and int(part) in node) else part


def _with_texts_and_paths(content: dict[str, Any], mark: Path, folder: Path) -> Iterator[Variant]:
    """What MMEngine would run or delete."""
    program = f'open({str(mark)!r}, "w").close()\nmax_epochs = 3\nmodel = dict()\ngpu_ids = [0]'
    for name, text in {
        'a program as config': program,
        'a config with a base': f'_base_ = {str(folder / "thesis.py")!r}',
        'a config that imports': f'custom_imports = dict(imports=["antigravity"])\n{program}',
        'a config that is no text': 3,
        'a config of placeholders': '{{ _base_.x }} {{ fileDirname }} {{$HOME:}}',
        'a config that does not end': 'x = [' * 10_000,
    }.items():
        yield Variant(name, _changed(content, _set('meta/cfg', text)), NOBODY)
        yield Variant(f'{name}, by the old key', _changed(content, _set('meta/config', text)), NOBODY)
    for name, value in {
        'absolute': str(folder / 'best_of_mine.pth'),
        'above': '../../guarded/best_of_mine.pth',
        'a program': str(folder / 'thesis.py'),
        'a number': 3,
        'a list': [str(folder / 'thesis.py')],
        'with NUL': 'best_\0.pth',
    }.items():
        for key in ('best_ckpt', 'last_ckpt', 'best_ckpt_coco/bbox_mAP'):

            def change(changed: dict[str, Any], key: str = key, value: Any = value) -> None:
                changed['message_hub']['runtime_info'].update({key: value, 'best_score': -1.0})

            yield Variant(f'{key.replace("/", " ")} {name}', _changed(content, change), ANY)
    for value in (['/../../thesis'], [10**30], [-1], 'text', [1.5], {'a': 1}):
        for key in ('keep_ckpt_ids', 'outdated_ckpt_ids'):
            yield Variant(
                f'{key} {value}'.replace('/', ' '),
                _changed(content, _set(f'message_hub/runtime_info/{key}', value)),
                ANY,
            )


def _nested(depth: int) -> list[Any]:
    """A list that takes no room, and 2 ** depth in print."""
    value: list[Any] = ['deep']
    for _ in range(depth):
        value = [value, value]
    return value


def _deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _valued(content: dict[str, Any], changes: Mapping[str, Sequence[Any]]) -> Iterator[Variant]:
    """For each path of keys that is there, each of the values in its place."""
    for key, values in changes.items():
        for value in values:
            try:
                probe = copy.deepcopy(content)
                _set(key, value)(probe)
            except (KeyError, TypeError, IndexError):
                continue
            yield Variant(f'{key.replace("/", ".")} = {shown(value):.30}', _changed(content, _set(key, value)), ANY)


def _of_other_notes(content: dict[str, Any]) -> Iterator[Variant]:
    """Numbers and texts that a training run takes up again, compares, counts with or prints."""
    yield from _valued(
        content,
        {
            'meta/iter': (10**5000,),
            'meta/progress/order_seed': (2**64 - 1,),
            'meta/progress/max_epochs': (_nested(100), 10**5000),
            'message_hub/log_scalars': ({'train/a': HistoryBuffer()},),
            'message_hub/runtime_info': ({'train/a': _nested(100)}, {'val/a': 10**5000}),
            'ema_state_dict/steps': ('x', torch.tensor(-(10**6)), torch.zeros(3)),
            'param_schedulers/0/base_values': ([], [1.0]),
        },
    )


def _of_other_content(content: dict[str, Any]) -> Iterator[Variant]:
    """Sound pickles, whose content is not what it should be."""
    yield from _valued(
        content,
        {
            'meta': (None, {}, 3, 'text', [], {'epoch': 1}, _nested(100)),
            'meta/iter': (10**9, 10**30, -1, '1', 1.5, None, True, [1], _nested(100)),
            'meta/epoch': (10**9, 10**30, -1, '1', 1.5, None, _nested(100)),
            'meta/seed': ('zero', -1, 2**70, 1.5, _nested(100)),
            'meta/progress': (3, {}, {'images': -1}, _nested(100), {'images': 10**9}),
            'meta/progress/images': (10**11, -3, '3', None, _nested(100)),
            'meta/progress/batch_size': (0, 10**11, '3'),
            'meta/progress/processes': (0, 10**6),
            'meta/progress/order_seed': (2**80, -1, 'x'),
            'message_hub': (None, {}, 3, []),
            'message_hub/log_scalars': ([], {'train/loss': 3}, {3: HistoryBuffer()}, {'a': _nested(100)}),
            'message_hub/runtime_info': ([], {'iter': 'x'}, {1: 2}, {'epoch': 10**30}, {'best_score': 'x'}),
            'message_hub/resumed_keys': ([], {'train/loss': 'maybe'}),
            'optimizer': (None, {}, [], 3),
            'optimizer/state': (None, [], {}, {0: 3}, {'a': {}}, {10**6: {'step': 1}}),
            'optimizer/param_groups': ([], None, [{}], {}),
            'optimizer/param_groups/0/lr': (float('nan'), 'x', None, float('inf'), -1.0, _nested(100)),
            'optimizer/param_groups/0/betas': ('ab', (0.9,), (float('nan'), 0.9), (2.0, 3.0)),
            'optimizer/param_groups/0/params': ([], [0, 0], ['x'], 3),
            'param_schedulers': ({}, None, [3], [{}], 3),
            'param_schedulers/0/last_step': ('x', 10**30, None),
            'param_schedulers/0/milestones': ('x', {}, _nested(100)),
            'ema_state_dict': (3, {}, {'module.x': torch.zeros(1)}),
            'rng_state': (3, _nested(100)),
        },
    )
    yield from _of_other_tensors(content)
    for name, value in {
        'nothing': {},
        'a number': 3,
        'a list of tensors': [torch.zeros(1)],
        'text': 'weights',
        'None': None,
        'names that are numbers': {1: torch.zeros(1)},
        'an empty dict of weights': {'state_dict': {}},
        'weights that are texts': {'state_dict': {'a': 'b'}},
        'one tensor': torch.zeros(3),
    }.items():
        yield Variant(name, lambda path, value=value: torch.save(value, path), ALL)
    for name, value in {
        'names of classes that are numbers': {'classes': (1, 2)},
        'more names than rows': {'classes': tuple('abcdefgh')},
        'fewer names than rows': {'classes': ('a',)},
        'one text as names': {'classes': 'ab'},
        'names that are None': {'classes': None},
        'nested names': {'classes': (_nested(60), _nested(60))},
        'names with code': {'classes': ('__import__("os").system("true")', '{{ _base_.x }}')},
        'names with control characters': {'classes': ('a\0b', 'c\r\nd')},
        'a lone surrogate': {'classes': ('\ud800', 'b')},
        'a long name': {'classes': ('x' * 100_000, 'b')},
        'names with dollars': {'classes': ('$\\frac', 'a$b$c')},
        'keys that are numbers': {3: ('a', 'b')},
        'a palette that is none': {'classes': ('a', 'b'), 'palette': 3},
        'a palette of texts': {'classes': ('a', 'b'), 'palette': ['red', 'x']},
        'a short palette': {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]},
        'a palette out of range': {'classes': ('a', 'b'), 'palette': [(1, 2, 300000), (-1, 0, 0)]},
        'a dataset_meta that is a list': ['a', 'b'],
    }.items():
        yield Variant(name, _changed(content, _set('meta/dataset_meta', value)), ANY)


def _of_other_tensors(content: dict[str, Any]) -> Iterator[Variant]:
    """Weights and states of other kinds and shapes."""
    weight = next(name for name, tensor in content['state_dict'].items() if tensor.dim() == 4)
    shape = content['state_dict'][weight].shape
    zeros = torch.zeros(shape)
    for name, tensor in {
        'of another shape': torch.zeros(3, 5),
        'empty': torch.zeros(0),
        'a scalar': torch.tensor(1.0),
        'of int64': zeros.long(),
        'of bool': zeros.bool(),
        'complex': zeros.to(torch.complex64),
        'sparse': zeros.to_sparse(),
        'quantized': torch.quantize_per_tensor(zeros, 0.1, 0, torch.qint8),
        'on the meta device': torch.zeros(shape, device='meta'),
        'NaN': zeros.fill_(float('nan')).clone(),
        'infinite': torch.full(shape, float('inf')),
        'a list': [1.0],
        'a text': 'weights',
        'a numpy array': np.zeros(tuple(shape)),
        'of one value, expanded': torch.zeros(1).expand(shape),
        'of one value, claiming more': torch.zeros(1).expand(10**6, 10**6),
        'nested': [torch.zeros(1)],
    }.items():
        refused_by = FIT if name in ('of another shape', 'empty', 'a scalar', 'of int64', 'of bool') else ALL
        yield Variant(f'a weight {name}', _changed(content, _set(f'state_dict/{weight}', tensor)), refused_by)
    yield Variant('a weight of float16', _changed(content, _set(f'state_dict/{weight}', zeros.half())), ANY)
    yield Variant(
        'a weight of float64', _changed(content, _set(f'state_dict/{weight}', torch.zeros(shape).double())), NOBODY
    )

    def share(changed: dict[str, Any]) -> None:
        state = changed['state_dict']
        pool = torch.zeros(max(tensor.numel() for tensor in state.values()))
        for name, tensor in state.items():
            if tensor.is_floating_point():
                state[name] = pool[: tensor.numel()].view(tensor.shape)

    def halve(changed: dict[str, Any]) -> None:
        for name in list(changed['state_dict'])[::2]:
            del changed['state_dict'][name]

    def rename(changed: dict[str, Any]) -> None:
        changed['state_dict'] = OrderedDict((f'x.y{i}', v) for i, v in enumerate(changed['state_dict'].values()))

    def wrap(changed: dict[str, Any]) -> None:
        changed['state_dict'] = {f'module.{name}': tensor for name, tensor in changed['state_dict'].items()}

    def add(changed: dict[str, Any]) -> None:
        changed['state_dict']['extra.weight'] = torch.zeros(3)

    yield Variant('weights that share one storage', _changed(content, share), NOBODY)
    yield Variant('half of the weights', _changed(content, halve), ANY)
    yield Variant('weights of other names', _changed(content, rename), FIT)
    yield Variant('weights behind a prefix', _changed(content, wrap), NOBODY)
    yield Variant('a weight too many', _changed(content, add), ANY)
    for name, state in {
        'of another shape': torch.zeros(30, 50),
        'empty': torch.zeros(0),
        'sparse': zeros.to_sparse(),
        'complex': torch.zeros(3, dtype=torch.complex64),
        'NaN': torch.full((1,), float('nan')),
        'a text': 'x',
        'nested': _nested(100),
    }.items():
        yield Variant(f'a moment {name}', _changed(content, _set('optimizer/state/*/exp_avg', state)), RESUME)
    for key in ('ema_state_dict', 'state_dict'):
        name = next(name for name in content[key] if content[key][name].dim() == 4)
        nan = torch.full(content[key][name].shape, float('nan'))
        yield Variant(f'NaN in {key}', _changed(content, _set(f'{key}/{name}', nan)), RESUME if 'ema' in key else ALL)


def _that_take_memory(good: Path, content: dict[str, Any]) -> Iterator[Variant]:
    """Small files that would fill the memory, or lie about their sizes."""

    def deflate(path: Path, zeros: int = 2 << 30) -> None:
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                if name.endswith('data/0'):
                    with target.open(name, 'w', force_zip64=True) as part:
                        for _ in range(zeros >> 20):
                            part.write(bytes(1 << 20))
                else:
                    target.writestr(name, source.read(name))

    def lie(path: Path) -> None:
        """The directory says that a part is small."""
        deflate(path, 256 << 20)
        data = bytearray(path.read_bytes())
        size = (256 << 20).to_bytes(4, 'little')
        for start in range(len(data)):
            start = data.find(size, start)
            if start < 0:
                break
            data[start : start + 4] = (100).to_bytes(4, 'little')
        path.write_bytes(bytes(data))

    def allocate(path: Path, call: Any) -> None:
        torch.save({**content, 'extra': call}, path)

    yield Variant('a compressed bomb', deflate, ALL)
    yield Variant('a compressed bomb that lies', lie, ALL)
    yield Variant('bytearray of 8 GB', lambda path: allocate(path, Call(bytearray, 8 << 30)), ALL)
    yield Variant('a tensor of 8 GB', lambda path: allocate(path, Call(torch.Tensor, 2 << 30)), ALL)
    yield Variant('an array of 8 GB', lambda path: allocate(path, Call(np.ndarray, (1 << 30,))), ALL)
    yield Variant('a list in itself', lambda path: torch.save({**content, 'extra': _nested(300)}, path), NOBODY)
    yield Variant('a list 900 deep', lambda path: torch.save({**content, 'extra': _deep(300)}, path), NOBODY)
    yield Variant('brackets without end', lambda path: path.write_bytes(b'\x80\x02' + b']' * 10_000_000 + b'.'), ALL)
    yield Variant(
        'tuples without end', lambda path: path.write_bytes(b'\x80\x02' + b'N' + b'\x85' * 1_000_000 + b'.'), ALL
    )
    yield Variant('overlapping parts', lambda path: _overlapping(good, path), ALL)


def _overlapping(good: Path, path: Path) -> None:
    """Every part of the directory points to the same large bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('a/data/0', bytes(1 << 20))
        archive.writestr('a/data.pkl', b'\x80\x02}q\x00.')
        archive.writestr('a/version', b'3')
        first = archive.infolist()[0]
        for number in range(1, 3000):
            info = copy.copy(first)
            info.filename = f'a/data/{number}'
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    path.write_bytes(buffer.getvalue())


def _of_other_bytes(good: Path) -> Iterator[Variant]:
    """Files that are cut off, changed, or something else."""
    data = good.read_bytes()
    draw = random.Random(0)
    for share in (0.0, 0.0001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999):
        yield Variant(
            f'cut at {share:.2%}', lambda path, share=share: path.write_bytes(data[: int(share * len(data))]), ALL
        )
    for cut in (1, 10, 22, 100):
        yield Variant(f'cut by {cut} bytes', lambda path, cut=cut: path.write_bytes(data[:-cut]), ALL)
    yield Variant('its first half missing', lambda path: path.write_bytes(data[len(data) // 2 :]), ALL)

    def hole(path: Path, start: int, length: int, fill: bytes) -> None:
        path.write_bytes(data[:start] + (fill * length)[:length] + data[start + length :])

    for number in range(12):
        start, length = draw.randrange(len(data) - 5000), draw.choice((1, 16, 512, 4096))
        fill = draw.choice((b'\0', b'\xff', b'<html>'))
        yield Variant(f'hole {number} of {length}', lambda path, s=start, n=length, f=fill: hole(path, s, n, f), ALL)
    yield Variant('more behind its end', lambda path: path.write_bytes(data + bytes(1000)), ANY)
    yield Variant('more before its start', lambda path: path.write_bytes(b'x' * 1000 + data), ANY)
    for name, other in {
        'HTML': b'<!DOCTYPE html><html>404</html>',
        'a pointer of Git LFS': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n',
        'JSON': b'{"state_dict": {}}',
        'zeros': bytes(5000),
        'noise': random.Random(1).randbytes(5000),
        'an empty archive': b'PK\x05\x06' + bytes(18),
        'a PNG': b'\x89PNG\r\n\x1a\n' + bytes(50),
        'gzip': __import__('gzip').compress(data[:1000]),
        'a tar archive': _tar(),
    }.items():
        yield Variant(f'{name} instead', lambda path, other=other: path.write_bytes(other), ALL)
    for name, change in {
        'without its pickle': lambda names: [n for n in names if not n.endswith('.pkl')],
        'without a tensor': lambda names: [n for n in names if not n.endswith('data/3')],
        'with two pickles': lambda names: [*names, next(n for n in names if n.endswith('.pkl'))],
    }.items():
        yield Variant(f'an archive {name}', lambda path, change=change: _rezip(good, path, change), ALL)
    yield Variant('an archive of another byte order', lambda path: _rezip(good, path, list, byteorder=b'middle'), ALL)
    yield Variant('an archive with a path to elsewhere', lambda path: _rezip(good, path, list, more='../../x'), ANY)
    yield Variant('a folder', lambda path: path.mkdir(), ALL)
    yield Variant('a pipe', os.mkfifo, ALL)
    yield Variant('a device', lambda path: path.symlink_to('/dev/zero'), ALL)
    yield Variant('a link to itself', lambda path: path.symlink_to(path), ALL)


def _tar() -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        info = tarfile.TarInfo('../pickle')
        info.size = 3
        archive.addfile(info, io.BytesIO(b'abc'))
    return buffer.getvalue()


def _rezip(
    good: Path, path: Path, change: Callable[[list[str]], list[str]], byteorder: bytes = b'', more: str = ''
) -> None:
    import warnings

    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, 'w') as target, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name in change(source.namelist()):
            target.writestr(name, byteorder if byteorder and name.endswith('byteorder') else source.read(name))
        if more:
            target.writestr(more, b'x')


def _safetensors(content: dict[str, Any]) -> Iterator[Variant]:
    """Headers of safetensors that are broken."""
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in content['state_dict'].items()}
    data = save(weights)
    length = struct.unpack('<Q', data[:8])[0]
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    first = next(name for name in header if name != '__metadata__')

    def packed(changed: Any, tail: bytes = rest) -> bytes:
        text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return struct.pack('<Q', len(text)) + text + tail

    def entry(**fields: Any) -> bytes:
        return packed({**header, first: {**header[first], **fields}})

    for name, other in {
        'sound': data,
        'empty': b'',
        'only a length': data[:8],
        'a length beyond the end': struct.pack('<Q', 1 << 62) + data[8:],
        'a length of nothing': struct.pack('<Q', 0) + data[8:],
        'cut off': data[: len(data) // 2],
        'cut in the header': data[: 8 + length // 2],
        'more behind its end': data + bytes(100),
        'no JSON': packed(b'x' * 100),
        'a list': packed([]),
        'nested JSON': packed(b'[' * 100_000),
        'no tensors': packed({}),
        'an unknown kind': entry(dtype='F7'),
        'a kind of 4 bits': entry(dtype='F4'),
        'a huge shape': entry(shape=[1 << 40, 1 << 40]),
        'a negative shape': entry(shape=[-1, 2]),
        'offsets beyond the end': entry(data_offsets=[0, 1 << 50]),
        'offsets in the wrong order': entry(data_offsets=[10, 0]),
        'the offsets of another': entry(data_offsets=[4, 8]),
        'other metadata': packed({**header, '__metadata__': {'format': 3}}),
        'a name twice': packed(
            json.dumps(header).encode()[:-1] + b', ' + json.dumps({first: header[first]}).encode()[1:]
        ),
        'UTF-16': packed(json.dumps(header).encode('utf-16')),
        'NaN': save({**weights, first: torch.full(weights[first].shape, float('nan')).to(torch.float32)}),
        'whole numbers': save({name: tensor.to(torch.int32) for name, tensor in weights.items()}),
        'a pickle': pickle.dumps({'a': 3}),
    }.items():
        refused_by = {'sound': NOBODY, 'a name twice': ANY}.get(name, ALL)
        yield Variant(
            f'safetensors: {name}',
            lambda path, other=other: path.write_bytes(other),
            refused_by,
            '.safetensors',
        )
