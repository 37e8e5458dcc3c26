"""Run the corpus, by parts or whole, and report it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.hostile import annotations, arguments, checkpoints, images
from benchmarks.hostile.task import Task, draw, train
from benchmarks.hostile.trial import Case, Guarded, Outcome, added, report, run, summary
from benchmarks.side_by_side import ROOT

RESULTS = ROOT / 'benchmarks' / 'results' / 'hostile'


class Choice:
    """Which inputs and tools are run.

    Args:
        tools: as they are called in the report, or how their names begin; none: all.
        only: a pattern that is in the names of the inputs.
        every: each so many-th of these.
        first: the first of them, from 0.
    """

    def __init__(self, tools: Sequence[str] = (), only: str = '', every: int = 1, first: int = 0) -> None:
        self.tools, self.only, self.every, self.first = tuple(tools), re.compile(only), every, first
        self.count = -1

    def takes(self, name: str) -> bool:
        """Whether an input is run."""
        if not self.only.search(name):
            return False
        self.count += 1
        return self.count % self.every == self.first

    def tool_is_wanted(self, tool: str) -> bool:
        """Whether a tool is."""
        return not self.tools or tool.startswith(self.tools)


def command(*arguments: object) -> Callable[[], int]:
    """A command of the console, with its messages and exit codes."""
    from mmdet_dab import cli

    return lambda: cli.main([str(argument) for argument in arguments])


def inference(task: Task, checkpoint: Path) -> Callable[[], int]:
    """mmdet's functions for inference, with a config of ours."""

    def work() -> int:
        from mmdet.apis import inference_detector, init_detector

        from mmdet_dab.errors import UserError

        try:
            model = init_detector(str(task.config), str(checkpoint), device='cpu')
            inference_detector(model, str(task.image))
        except UserError as error:
            print(f'error: {error}', file=sys.stderr)
            return 2
        return 0

    return work


def checkpoint_cases(task: Task, variant: checkpoints.Variant, file: Path, out: Path) -> Iterator[Case]:
    """One checkpoint, by all tools that read one."""
    shutil.rmtree(out, ignore_errors=True)
    refused_by_all = variant.refused_by in (checkpoints.ALL, checkpoints.FIT)
    expected = {checkpoints.NOBODY: 'done', checkpoints.RESUME: 'done'}
    expected |= dict.fromkeys((checkpoints.ALL, checkpoints.FIT), 'refused')
    by_resume = {**expected, checkpoints.RESUME: 'refused'}
    partly = {**expected, checkpoints.FIT: 'either'}
    if file.suffix == '.safetensors':
        by_resume = dict.fromkeys(by_resume, 'refused')
    config, images = task.config, task.folder / 'images'
    start = ('--cfg-options', f'load_from={file}')
    only_refused = 'refused' if refused_by_all else 'either'
    for tool, work, expect in (
        ('train --resume', command('train', config, '--resume', file, '--work-dir', out), by_resume),
        ('train load_from', command('train', config, '--work-dir', out, *start), partly),
        ('test', command('test', config, file, '--work-dir', out), expected),
        ('infer', command('infer', task.image, config, file, '--out-dir', out), expected),
        ('convert', command('convert', file, out, '--config', config, '--to', 'huggingface'), only_refused),
        ('export', command('export', config, file, '--out', out.with_suffix('.pt2')), only_refused),
        (
            'new-data',
            command('new-data', '--images', images, '--annotations', task.folder / 'all.json', '--out', out / 'a.py',
                    '--checkpoint', file),
            only_refused,
        ),
        ('init_detector', inference(task, file), partly),
    ):  # fmt: skip
        wanted = expect if isinstance(expect, str) else expect.get(variant.refused_by, 'either')
        # Any may be refused for the model that is in it, by the key of the model.
        names = (file.name, 'model.') if refused_by_all or isinstance(expect, dict) else ()
        yield Case(tool, variant.name, work, names, wanted)


def run_checkpoints(folder: Path, choice: Choice) -> Iterator[Outcome]:
    """The corpus of checkpoints."""
    task = train(draw(folder / 'task'))
    guarded = Guarded(folder / 'guarded')
    for number, variant in enumerate(checkpoints.variants(task.checkpoint, guarded.mark, guarded.folder)):
        if not choice.takes(variant.name):
            continue
        name = re.sub(r'\W+', '_', variant.name)[:60]
        file = folder / f'{number:03d}_{name}{variant.suffix}'
        variant.write(file)
        for case in checkpoint_cases(task, variant, file, folder / 'out'):
            if not choice.tool_is_wanted(case.tool):
                continue
            # Tracing a sound detector takes longer than all else.
            if case.tool == 'export' and case.expect != 'refused' and variant.name != 'sound':
                continue
            outcome = run(replace(case, harm=guarded.harm), folder / 'trial')
            yield outcome
            shutil.rmtree(folder / 'out', ignore_errors=True)
            (folder / 'out.pt2').unlink(missing_ok=True)
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def run_images(folder: Path, choice: Choice) -> Iterator[Outcome]:
    """Odd images, alone and among sound ones."""
    task = train(draw(folder / 'task'))
    guarded = Guarded(folder / 'guarded')
    exported = folder / 'sound.onnx'
    code = command('export', task.config, task.checkpoint, '--out', exported)()
    for odd in images.odd_images():
        if not choice.takes(odd.what):
            continue
        place = folder / 'data'
        shutil.copytree(task.folder / 'images', place / 'images')
        content = task.annotations()
        content['images'].append(dict(id=99, file_name=odd.name, width=64, height=64))
        try:
            odd.write(place / 'images' / odd.name)
            (place / 'all.json').write_text(json.dumps(content))
        except (OSError, ValueError):  # a name that this file system does not take
            shutil.rmtree(place)
            continue
        for case in image_cases(task, odd, place, None if code else exported, folder / 'out'):
            if choice.tool_is_wanted(case.tool):
                yield run(replace(case, harm=guarded.harm), folder / 'trial')
            shutil.rmtree(folder / 'out', ignore_errors=True)
        shutil.rmtree(place)


def image_cases(task: Task, odd: images.OddImage, place: Path, exported: Path | None, out: Path) -> Iterator[Case]:
    """One image, by all tools that read images."""
    alone = {images.USABLE: 'done', images.UNUSABLE: 'refused', images.OPEN: 'either'}[odd.usable]
    # What is damaged is named, and the others are done, also where there are none.
    among = {'refused': 'partly', 'either': 'open'}.get(alone, alone)
    named = {'partly': 'named'}.get(among, among)
    # A folder is searched for files that look like images.
    if odd.what in ('a folder', 'a pipe', 'a socket', 'a link to nothing', 'a link to itself') or 'device' in odd.what:
        among = 'either'
    config, file, every = task.config, place / 'images' / odd.name, place / 'images'
    dataset = ('--cfg-options', f'data_root={place}/')
    names = (odd.name, repr(odd.name)[1:-1], os.fsencode(odd.name).decode('ascii', 'backslashreplace'), 'data')
    new = ('--images', every, '--annotations', place / 'all.json', '--out', out / 'a.py')
    listed = alone if odd.usable != images.OPEN and not odd.what.startswith('orientation') else 'either'
    cases = [
        ('infer, the image', command('infer', file, config, task.checkpoint, '--out-dir', out), named),
        ('infer, the folder', command('infer', every, config, task.checkpoint, '--out-dir', out), among),
        ('new-data', command('new-data', *new), 'refused' if alone == 'refused' else 'either'),
        ('train', command('train', config, '--work-dir', out, *dataset, 'train_cfg.val_interval=9'), listed),
        ('test', command('test', config, task.checkpoint, '--work-dir', out, *dataset), listed),
    ]
    if exported is not None:
        cases += [
            ('run, the image', command('run', exported, file, '--out', out), named),
            ('run, the folder', command('run', exported, every, '--out', out), among),
        ]
    for tool, work, expect in cases:
        yield Case(tool, odd.what, work, names, expect)


def run_annotations(folder: Path, choice: Choice) -> Iterator[Outcome]:
    """Odd annotations, and the config that is written of them."""
    task = draw(folder / 'task')
    guarded = Guarded(folder / 'guarded')
    for odd in annotations.odd_data(task):
        if not choice.takes(odd.what):
            continue
        place, out = folder / 'data', folder / 'out'
        place.mkdir()
        try:
            given = odd.write(place)
        except UnicodeError:
            shutil.rmtree(place)
            continue
        new = ('--images', task.folder / 'images', '--annotations', given, '--out', out / 'a.py', '--format', odd.kind)
        expect = {True: 'done', False: 'refused', None: 'either'}[odd.usable]
        for tool, work in (
            (f'new-data, {odd.kind}', command('new-data', *new)),
            (f'train with what new-data wrote, {odd.kind}', accepted(out / 'a.py')),
        ):
            if tool.startswith('train') and not (out / 'a.py').is_file():
                continue
            if choice.tool_is_wanted(tool):
                yield run(Case(tool, odd.what, work, ('data', 'images'), expect, guarded.harm), folder / 'trial')
            expect = 'done'
        if odd.kind == 'coco':
            options = ('--cfg-options', f'train_dataloader.dataset.ann_file={given}', '--check-only')
            work = command('train', task.config, '--work-dir', out, *options)
            if choice.tool_is_wanted('train, coco'):
                case = Case('train, coco', odd.what, work, ('all.json', 'config', 'data'), 'either', guarded.harm)
                yield run(case, folder / 'trial')
        shutil.rmtree(place)
        shutil.rmtree(out, ignore_errors=True)


def accepted(config: Path) -> Callable[[], int]:
    """Whether a training run accepts a written config."""
    return command('train', config, '--check-only')


def run_arguments(folder: Path, choice: Choice) -> Iterator[Outcome]:
    """Wrong arguments: a message each, exit code 2."""
    task = train(draw(folder / 'task'))
    guarded = Guarded(folder / 'guarded')
    (folder / 'given').mkdir()
    for wrong in arguments.wrong_arguments(task, folder / 'given'):
        given = [wrong.command] * bool(wrong.command) + [str(argument) for argument in wrong.arguments]
        name = ' '.join(Path(part).name if part.startswith('/') else part for part in given)[:100]
        if not choice.tool_is_wanted(wrong.command) or not choice.takes(name):
            continue
        # What is no image is named, as one of many would be.
        expect = 'named' if wrong.command in ('infer', 'run') else 'refused'
        case = Case(wrong.command or 'mmdet-dab', name, command(*given), wrong.names, expect, guarded.harm)
        yield run(case, folder / 'trial')


RUNS = {
    'checkpoints': run_checkpoints,
    'images': run_images,
    'annotations': run_annotations,
    'arguments': run_arguments,
}


class Record:
    """The results of a part on disk: written as they come, so that a run that is cut off has them.

    What is there of other inputs is added to them, if they were tried whole.

    Args:
        path: of the file.
        every: and ``first``: which inputs are tried.
    """

    #: Cases from one writing to the next.
    INTERVAL = 20

    def __init__(self, path: Path, every: int, first: int) -> None:
        self.path, self.every, self.first = path, every, first
        old = json.loads(path.read_text()) if path.is_file() else None
        fits = old is not None and old['whole'] and old['every'] == every and first not in old['first']
        self.others = old if fits else None

    def write(self, outcomes: Sequence[Outcome], whole: bool) -> None:
        """Write what was seen until now, in the place of what was there.

        Args:
            outcomes: of all cases until now.
            whole: whether there are no more.
        """
        if not outcomes:
            return
        new = dict(whole=whole, **summary(outcomes, self.every, self.first))
        if self.others is not None:
            new = dict(whole=whole, **added(self.others, new))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(new, indent=1, ensure_ascii=False) + '\n')


def _leave_out_what_is_slow() -> None:
    """Four fifths of a short training run lay out the text of its config, and ask the machine for
    compilers. No input reaches either.
    """
    from mmengine.config import config
    from mmengine.runner import runner

    runner.collect_env = dict
    config.FormatCode = lambda text, **_: (text, False)


def main() -> int:
    """Run what is asked for; exit code 1 where an input ended worse than in a message."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.hostile', description=__doc__)
    parser.add_argument('parts', nargs='*', help=f'{", ".join(RUNS)}; default: all')
    parser.add_argument('--tool', nargs='+', default=[], help='only these tools')
    parser.add_argument('--only', default='', metavar='REGEX', help='only inputs of these names')
    parser.add_argument('--every', type=int, default=1, metavar='N', help='only each N-th input, to be quick')
    parser.add_argument(
        '--first', type=int, default=0, metavar='K', help='beginning with input K < N; --write adds up what is disjoint'
    )
    parser.add_argument('--write', action='store_true', help='write the results into benchmarks/results/hostile')
    args = parser.parse_args()
    from mmdet_dab import cli, compat

    os.environ.pop('MMDET_DAB_TRACEBACK', None)
    cli._forbid_unrestricted_unpickling()
    compat.import_stack()
    import mmdet.apis  # noqa: F401  (children need not import it)

    import mmdet_dab.data.new_dataset
    import mmdet_dab.deploy.exporter
    import mmdet_dab.inferencer
    import mmdet_dab.launch  # noqa: F401

    _leave_out_what_is_slow()
    outcomes: dict[str, list[Outcome]] = {part: [] for part in args.parts or RUNS}
    with tempfile.TemporaryDirectory() as folder:
        for part, own in outcomes.items():
            chosen = Choice(args.tool, args.only, args.every, args.first)
            record = Record(RESULTS / f'{part}.json', args.every, args.first)
            for outcome in RUNS[part](Path(folder) / part, chosen):
                own.append(outcome)
                if args.write and len(own) % record.INTERVAL == 0:
                    record.write(own, whole=False)
                if outcome.verdict != 'right':
                    print(
                        f'{outcome.verdict}: {outcome.tool}, {outcome.name}: {outcome.why} ({outcome.said})', flush=True
                    )
            if args.write:
                record.write(own, whole=True)
    every = [outcome for own in outcomes.values() for outcome in own]
    print(report(every))
    return int(any(outcome.verdict != 'right' for outcome in every))


if __name__ == '__main__':
    sys.exit(main())
