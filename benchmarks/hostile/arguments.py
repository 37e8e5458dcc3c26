"""Wrong arguments of every command: none ends in a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile.task import Task


@dataclass(frozen=True)
class Wrong:
    """A call that cannot work; the message names one of ``names``."""

    command: str
    arguments: Sequence[object]
    names: Sequence[str]


def wrong_arguments(task: Task, folder: Path) -> Iterator[Wrong]:
    """All of them.

    Args:
        task: with a trained checkpoint.
        folder: for files that they name; the commands run elsewhere.
    """
    config, good, image, data = task.config, task.checkpoint, task.image, task.folder
    text, empty, pipe = folder / 'text.txt', folder / 'empty.pth', folder / 'pipe.pth'
    text.write_text('nothing')
    empty.touch()
    os.mkfifo(pipe)
    (folder / 'void').mkdir()
    out = ('--out', folder / 'new.py')
    nowhere = '/proc/nowhere/x'

    def wrong(command: str, names: str, *arguments: object) -> Wrong:
        return Wrong(command, arguments, names.split('|'))

    # --- No arguments, unknown ones, and other kinds of values
    for command in ('train', 'test', 'infer', 'new-data', 'convert', 'export', 'run', 'describe', 'complexity'):
        yield wrong(command, 'required|describe')
        yield wrong(command, 'unrecognized|required|conflict', '--no-such-option')
    yield wrong('', 'required')
    yield wrong('nosuch', 'nosuch')
    yield wrong('demo', 'unrecognized', '--no-such-option')
    # --- Configs
    for command, rest in (('train', ()), ('test', (good,)), ('describe', ()), ('complexity', ())):
        yield wrong(command, 'gone.py', 'gone.py', *rest)
        yield wrong(command, 'text.txt', text, *rest)
        yield wrong(command, 'void', folder / 'void', *rest)
    yield wrong('train', 'mmdet::nosuch', 'mmdet::nosuch.py')
    yield wrong('train', 'nosuch::x', 'nosuch::x.py')
    yield wrong('train', 'a\0b|a b', 'a\0b')
    yield wrong('train', 'x', 'x' * 5000)
    yield wrong('describe', 'gone', config, 'gone.py')
    yield wrong('demo', 'gone.py', '--config', 'gone.py')
    # --- Overrides
    for option in (
        'nosuch=1',
        'model.nosuch=1',
        'train_cfg.max_epoch=3',
        'optim_wraper.optimizer.lr=3',
        '=3',
        'x',
        'model.num_queries.a=1',
        'train_dataloader.dataset.pipeline.9.type=x',
        'model=3',
        'param_scheduler=3',
        'train_dataloader=3',
        'default_hooks=3',
        'train_dataloader.batch_size=0',
        'train_dataloader.batch_size=x',
        'train_dataloader.num_workers=-1',
        'train_cfg.max_epochs=x',
        'train_cfg.max_epochs=-1',
        'optim_wrapper.optimizer.lr=x',
        'optim_wrapper.optimizer.type=Nosuch',
        'model.type=Nosuch',
        'model.num_queries=0',
        'model.num_queries=-3',
        'model.num_queries=x',
        'model.num_classes=0',
        'model.backbone=3',
        'train_cfg.type=Nosuch',
        'val_evaluator.metric=x',
        'randomness.seed=x',
        'model.embed_dims=7',
        'model.embed_dims=10000000000000',
        'model.decoder.num_layers=0',
        'model.decoder.num_layers=x',
        'load_from=3',
        'data_root=3',
        'work_dir=3',
        'custom_hooks=x',
        'custom_imports=x',
        'train_dataloader.sampler.type=Nosuch',
        'train_dataloader.dataset.type=Nosuch',
        'train_dataloader.dataset.pipeline=x',
        'env_cfg=3',
        'vis_backends=3',
        'model.backbone.init_cfg=3',
        'model.data_preprocessor=3',
        'optim_wrapper=3',
        'custom_hooks.0.momentum=7',
        'metainfo.classes=3',
        'visualizer=3',
        'auto_scale_lr=3',
    ):
        key = option.partition('=')[0].split('.')[-1] or option
        yield wrong('train', f'{key}|cannot be built|{option}|memory', config, '--cfg-options', option)
    # --- Checkpoints
    for command, before in (
        ('test', (config,)),
        ('infer', (image, config)),
        ('train', (config, '--resume')),
        ('convert', ()),
        ('export', (config,)),
    ):
        after = {'convert': ('x.pth',), 'export': ('--out', folder / 'x.onnx')}.get(command, ())
        for name in ('gone.pth', empty, pipe, folder / 'void', text, image, 'a\0b', 'hf://x', '/dev/zero'):
            shown = Path(str(name)).name.replace('\0', '|')
            yield wrong(command, f'{shown}|{name}'.replace('\0', '|'), *before, name, *after)
    # --- Folders that cannot be written to, files in the way
    yield wrong('train', 'text.txt|nowhere', config, '--work-dir', text)
    yield wrong('train', 'nowhere', config, '--work-dir', nowhere)
    yield wrong('test', 'nowhere', config, good, '--work-dir', nowhere)
    yield wrong('test', 'pkl|.json', config, good, '--out', 'x.csv')
    yield wrong('test', 'nowhere', config, good, '--out', f'{nowhere}.pkl')
    yield wrong('test', 'text.txt', config, good, '--show-dir', text)
    yield wrong('test', 'checkpoint', config)
    yield wrong('test', 'm.onnx|name either', config, good, '--model', 'm.onnx')
    yield wrong('test', 'm.onnx', config, '--model', 'm.onnx')
    yield wrong('test', 'text', config, '--model', text)
    yield wrong('infer', 'text.txt', image, config, good, '--out-dir', text)
    yield wrong('infer', 'nowhere', image, config, good, '--out-dir', nowhere)
    # --- Numbers and names
    for option, value in (
        ('--score-thr', 'x'),
        ('--batch-size', '0'),
        ('--batch-size', '-2'),
        ('--batch-size', 'x'),
        ('--device', 'gpu'),
        ('--device', 'cuda:99'),
        ('--device', '0'),
        ('--optimize', 'int3'),
        ('--score-thr', 'nan'),
    ):
        yield wrong('infer', f'{option}|{value}', image, config, good, option, value)
    for name in ('gone.png', text, folder / 'void', pipe, 'gone/*.png', 'a\0b', '/dev/zero'):
        yield wrong('infer', f'{Path(str(name)).name}|null|no image', name, config, good)
        yield wrong('run', f'{Path(str(name)).name}|null|no image|m.onnx', 'm.onnx', name)
    yield wrong('train', '--launcher|nosuch', config, '--launcher', 'nosuch')
    yield wrong('train', 'slurm', config, '--launcher', 'slurm')
    yield wrong('train', 'mpi', config, '--launcher', 'mpi')
    yield wrong('train', '--refit-schedule', config, '--refit-schedule')
    yield wrong('convert', 'good.pth', good, good, '--config', config, '--to', 'huggingface')
    yield wrong('convert', 'nosuch', good, 'x.pth', '--to', 'nosuch')
    yield wrong('convert', 'num-classes|layout|num_classes', good, 'x.pth', '--num-classes', '-1')
    yield wrong('convert', 'layout', good, folder / 'x.pth', '--config', config)
    yield wrong('export', '.txt', config, good, '--out', folder / 'x.txt')
    yield wrong('export', 'nowhere', config, good, '--out', f'{nowhere}.onnx')
    yield wrong('export', 'void', config, good, '--out', folder / 'void')
    yield wrong('export', 'nosuch', config, good, '--out', folder / 'x.onnx', '--precision', 'nosuch')
    yield wrong('export', 'float16', config, good, '--out', folder / 'x.onnx', '--precision', 'int4')
    yield wrong('run', 'gone.onnx', 'gone.onnx', image)
    yield wrong('run', 'text.txt', text, image)
    yield wrong('run', '--batch-size', 'm.onnx', image, '--batch-size', '0')
    yield wrong('complexity', '--shape', config, '--shape', '0', '64')
    yield wrong('complexity', '--shape', config, '--shape', 'x', '64')
    yield wrong('complexity', '--shape|memory|1000000', config, '--shape', '1000000', '1000000')
    yield wrong('complexity', 'nowhere', config, '--json', f'{nowhere}.json')
    yield wrong('complexity', 'void', config, '--shape', '64', '64', '--json', folder / 'void')
    yield wrong('demo', '--images', '--images', '-1', '--work-dir', folder / 'demo')
    yield wrong('demo', 'text.txt', '--work-dir', text)
    yield wrong('mmdet-tool', 'nosuch', 'nosuch.py')
    yield wrong('mmdet-tool', 'etc/passwd', '../../../../etc/passwd')
    # --- Data
    both = ('--images', data / 'images', '--annotations', data / 'all.json')
    yield wrong('new-data', 'gone', '--images', 'gone', '--annotations', data / 'all.json', *out)
    yield wrong('new-data', 'gone', '--images', data / 'images', '--annotations', 'gone', *out)
    yield wrong('new-data', 'text.txt', '--images', data / 'images', '--annotations', text, *out)
    yield wrong('new-data', 'void', '--images', data / 'images', '--annotations', folder / 'void', *out)
    yield wrong('new-data', 'text.txt|not a folder', '--images', text, '--annotations', data / 'all.json', *out)
    yield wrong('new-data', 'x.txt', *both, '--out', folder / 'x.txt')
    yield wrong('new-data', 'a.b.py', *both, '--out', folder / 'a.b.py')
    yield wrong('new-data', 'nowhere', *both, '--out', f'{nowhere}.py')
    yield wrong('new-data', '--val-share', *both, *out, '--val-share', '2')
    yield wrong('new-data', '--val-share', *both, *out, '--val-share', 'nan')
    yield wrong('new-data', '--val-share', *both, *out, '--val-share', 'x')
    yield wrong('new-data', '--val', *both, *out, '--val', 'gone.json')
    yield wrong('new-data', 'text.txt', *both, *out, '--val', text)
    yield wrong('new-data', '--val-images', *both, *out, '--val-images', data / 'images')
    yield wrong('new-data', 'yolo', *both, *out, '--format', 'yolo')
    yield wrong('new-data', 'nosuch', *both, *out, '--format', 'nosuch')
    yield wrong('new-data', 'zebra', *both, *out, '--classes', 'zebra')
    yield wrong('new-data', '--classes', *both, *out, '--classes', 'bar', 'bar')
    yield wrong('new-data', '--seed', *both, *out, '--seed', 'x')
    yield wrong('new-data', 'gone.pth', *both, *out, '--checkpoint', 'gone.pth')
    yield wrong('new-data', 'empty.pth', *both, *out, '--checkpoint', empty)
    yield wrong('new-data', 'nowhere', *both, *out, '--annotations-out', nowhere)
