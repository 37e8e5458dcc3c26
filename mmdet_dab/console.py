"""Words for the person who waits at the console."""

import os
import sys
import time


def say(text: str) -> None:
    """Print what is going on; on stderr, and of several processes from the first."""
    if os.environ.get('RANK', '0') == '0':
        print(text, file=sys.stderr, flush=True)


class Progress:
    """How much of long work is done, and the seconds that are left, on stderr.

    A terminal shows one line that is written over; a log gets a line twice a minute.

    Args:
        total: of the work, in ``noun``.
        noun: what is counted, in the plural.
    """

    def __init__(self, total: int, noun: str) -> None:
        self.total, self.noun, self.done = total, noun, 0
        self.on_terminal = sys.stderr.isatty()
        self.started = time.monotonic()
        self.shown = self.started if not self.on_terminal else 0.0

    def __call__(self, done: int) -> None:
        """Say how much is done, if it is time to."""
        self.done = done
        now = time.monotonic()
        if now - self.shown < (0.2 if self.on_terminal else 30):
            return
        self.shown = now
        total = max(self.total, done)
        left = (now - self.started) / max(done, 1) * (total - done)
        text = f'{done:,} of {total:,} {self.noun}, {done / (now - self.started):.1f}/s, {left:,.0f} s left'
        print(f'\r{text:<60}' if self.on_terminal else text, end='' if self.on_terminal else '\n', file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the line of a terminal."""
        if self.on_terminal and self.shown:
            print(f'\r{"":<60}\r', end='', file=sys.stderr, flush=True)
