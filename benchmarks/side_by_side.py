"""Time several candidates side by side: A B A B …, each in a process of its own, in one group on
one machine.

Only one works at a time, and every round visits all of them, so that whatever else the machine does
meets them alike; ratios of medians then say more than seconds. A process of its own gives each its
own peak memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import platform
import statistics
import textwrap
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'work_dirs' / 'benchmarks'
PAGE = ROOT / 'docs' / 'performance.md'


@dataclass
class Measurement:
    """What one candidate did.

    Attributes:
        name: of the candidate.
        seconds: of every timed round.
        processor: seconds of all its threads in the same rounds, in which what else the machine
            does counts less. OpenMP's threads may wait actively, which counts.
        peak_gb: most memory that its process (or its GPU) held, in GB.
        outcome: what the candidate says of its result, to compare outputs.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    peak_gb: float = 0.0
    outcome: Any = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def processor_median(self) -> float:
        return statistics.median(self.processor)

    @property
    def spread(self) -> str:
        """Least and greatest, in seconds."""
        return f'{min(self.seconds):.3g} – {max(self.seconds):.3g}'


#: () -> (a step to time, what to say of the result)
Candidate = Callable[[], tuple[Callable[[], Any], Callable[[], Any]]]


def measure(
    candidates: Mapping[str, Candidate],
    rounds: int,
    threads: int,
    device: str = 'cpu',
    *,
    steps: int = 1,
    warm: bool = True,
) -> list[Measurement]:
    """Time all candidates in turn.

    Args:
        candidates: name -> a picklable function that builds what is timed.
        rounds: how often each is timed.
        threads: of PyTorch in each process.
        device: for synchronisation and peak memory.
        steps: that a candidate does when its turn comes; the last is timed. The first finds caches
            that hold what others worked on, which counts where a step is short.
        warm: after one round to warm up. Without, for what takes minutes.

    Raises:
        RuntimeError: a candidate failed; says how.
    """
    context = get_context('spawn')
    workers = {}
    try:
        for name, candidate in candidates.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, candidate, threads, device), daemon=True)
            process.start()
            theirs.close()  # so that it is seen when the process ends
            workers[name] = (process, ours)
        return _in_turn(workers, rounds, steps, warm)
    finally:
        for process, _ in workers.values():
            process.terminate()


def _in_turn(workers: Mapping[str, tuple[Any, Connection]], rounds: int, steps: int, warm: bool) -> list[Measurement]:
    for name, (_, pipe) in workers.items():
        _receive(pipe, name)
    results = {name: Measurement(name) for name in workers}
    for number in range(0 if warm else 1, rounds + 1):
        for name, (_, pipe) in workers.items():
            for _ in range(steps):
                pipe.send('step')
                seconds, processor = _receive(pipe, name)
            if number:
                results[name].seconds.append(seconds)
                results[name].processor.append(processor)
        print(f'round {number}/{rounds}: ' + ', '.join(_progress(result) for result in results.values()), flush=True)
    for name, (process, pipe) in workers.items():
        pipe.send('end')
        results[name].peak_gb, results[name].outcome = _receive(pipe, name)
        process.join(timeout=60)
    return list(results.values())


def _progress(result: Measurement) -> str:
    return f'{result.name} {result.seconds[-1]:.3g} s' if result.seconds else f'{result.name} warm'


def _receive(pipe: Connection, name: str) -> Any:
    try:
        answer = pipe.recv()
    except EOFError:
        raise RuntimeError(f'{name} ended without an answer: was it out of memory?') from None
    if isinstance(answer, str):
        raise RuntimeError(f'{name} failed:\n{answer}')
    return answer


def _work(pipe: Connection, candidate: Candidate, threads: int, device: str) -> None:
    """The life of one candidate's process."""
    try:
        MMLogger.get_current_instance().setLevel('WARNING')  # not the list of all weights
        torch.set_num_threads(threads)
        logging.disable(logging.INFO)  # mmengine lists every weight that it initialises
        step, outcome = candidate()
        pipe.send(True)
        while pipe.recv() == 'step':
            synchronise(device)
            start, before = time.perf_counter(), time.process_time()
            step()
            synchronise(device)
            pipe.send((time.perf_counter() - start, time.process_time() - before))
        pipe.send((peak_gb(device), outcome()))
    except Exception:
        pipe.send(traceback.format_exc())


def synchronise(device: str) -> None:
    """Wait for the GPU, if there is one in play."""
    if device != 'cpu':
        torch.cuda.synchronize()


def peak_gb(device: str) -> float:
    """The most memory that this process held so far: of the GPU, or resident in main memory
    (Linux).
    """
    if device != 'cpu':
        return torch.cuda.max_memory_allocated() / 2**30
    # Not getrusage, whose figure begins with that of the process that started this one.
    status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(status['VmHWM'].split()[0]) / 2**20


# --- What the results were measured on, and where they go


def machine_name() -> str:
    """The machine and the versions."""
    info = Path('/proc/cpuinfo')
    about = info.read_text() if info.exists() else ''
    names = [line.split(':', 1)[1].strip() for line in about.splitlines() if line.startswith('model name')]
    model = names[0] if names else platform.processor() or platform.machine()
    gpu = f'; {torch.cuda.get_device_name()}' if torch.cuda.is_available() else ''
    packages = ('torch', 'mmdet', 'mmengine', 'transformers')
    versions = ', '.join(f'{name} {found}' for name in packages if (found := installed(name)))
    # AMX multiplies bfloat16 many times as fast as vectors do, and PyTorch does not name it.
    capability = torch.backends.cpu.get_cpu_capability() + (', AMX' if ' amx_bf16' in about else '')
    return f'{model} ({capability}){gpu}; Python {platform.python_version()}, {versions}'


def machine(threads: int, now: Callable[[], float] = time.perf_counter) -> str:
    """The same, and how fast it multiplies now."""
    rate = matmul_rate(threads, now)
    return f'{machine_name()}; {plural(threads, "thread")}, {rate:.0f} GFLOPS in a float32 matrix product'


def plural(number: int, noun: str) -> str:
    """``1 round``, ``2 rounds``."""
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def installed(name: str) -> str | None:
    """The version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def matmul_rate(threads: int, now: Callable[[], float] = time.perf_counter, size: int = 1024) -> float:
    """The rate of this machine's matrix product, in GFLOPS (2 per multiply-add): the median of 15."""
    torch.set_num_threads(threads)
    a = torch.randn(size, size)
    seconds = []
    for _ in range(16):
        start = now()
        a @ a
        seconds.append(now() - start)
    return 2 * size**3 / statistics.median(seconds[1:]) / 1e9


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(str(cell) for cell in line) + ' |' for line in lines)


@dataclass(frozen=True)
class Part:
    """One table of the page.

    Attributes:
        text: Markdown.
        data: its figures.
    """

    text: str
    data: dict[str, Any]


def save(name: str, part: Part, **about: Any) -> None:
    """Keep a part as JSON."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f'{name}.json').write_text(json.dumps(dict(text=part.text, **about, **part.data), indent=1))


def kept(name: str) -> dict[str, Any] | None:
    """What :func:`save` has kept; None: nothing."""
    file = RESULTS / f'{name}.json'
    found = json.loads(file.read_text()) if file.exists() else {}
    return found if 'commit' in found else None


def keep(name: str, text: str, data: Any, publish: bool, page: Path | None = None) -> None:
    """Print a result, keep its figures as JSON, and put its text into a page, between the marks of
    its name.

    Args:
        name: of the result.
        text: Markdown.
        data: figures for the file.
        publish: whether to change the page.
        page: :data:`PAGE`, or another.
    """
    print(f'\n{text}\n', flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f'{name}.json').write_text(json.dumps(data, indent=1))
    if publish:
        write_between_marks(page or PAGE, name, text)


def write_between_marks(page: Path, name: str, text: str) -> None:
    """Put Markdown into a page, between the marks ``<!-- name: begin -->`` and ``<!-- name: end
    -->``.
    """
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    found = page.read_text()
    if begin not in found or end not in found:
        raise SystemExit(f'error: {page} lacks the marks {begin} and {end} to write between')
    before, rest = found.split(begin)
    page.write_text(f'{before}{begin}\n{wrapped(text)}\n{end}{rest.split(end)[1]}')


def wrapped(text: str, width: int = 100) -> str:
    """Markdown with prose of this width; tables and images stay on their lines."""
    lines = text.splitlines()
    fill = functools.partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    return '\n'.join(line if line.startswith(('|', '!')) else fill(line) for line in lines)


def add_arguments(parser: argparse.ArgumentParser, rounds: int | None) -> None:
    """What all benchmarks take."""
    parser.add_argument('--rounds', type=int, default=rounds, help='how often each candidate is timed')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='threads of PyTorch')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='cpu or cuda')
    parser.add_argument('--publish', action='store_true', help='write the result into docs/performance.md')
