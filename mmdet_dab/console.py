"""Words for the person who waits at the console."""

import os
import sys


def say(text: str) -> None:
    """Print what is going on; on stderr, and of several processes from the first."""
    if os.environ.get('RANK', '0') == '0':
        print(text, file=sys.stderr, flush=True)
