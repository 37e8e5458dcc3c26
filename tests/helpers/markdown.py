"""The pages of the documentation as tests see them: code blocks with their markers, links, headings.

Every code block is preceded by a comment that says what the tests do with it:

==========================  =====================================================================
``<!-- runs -->``           Python: executed, all blocks of a page in one namespace.
                            Shell: executed, if it is one of our commands.
``<!-- builds -->``         A config: its model is built, and made small it trains a step.
``<!-- refused -->``        A config that is refused; the text block after it names key and part.
``<!-- file: NAME -->``     Saved under this name beside the configs of the page.
``<!-- not run: WHY -->``   Not executed. The options of our commands are checked all the same.
==========================  =====================================================================
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
#: All pages that users read; reference pages are made of docstrings.
PAGES = (ROOT / 'README.md', *sorted(path for path in DOCS.rglob('*.md') if 'reference' not in path.parts))
FENCE = re.compile(r'^```(\w*)$')
MARKER = re.compile(r'^<!-- (runs|builds|refused|file|not run)(?:: (.+))? -->$')
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        page: its file.
        line: of the opening fence, from 1.
        language: ``python``, ``bash``, ``text`` …; empty if the fence names none.
        marker: what the comment before it says, ``None`` without one.
        argument: file name or reason after the marker.
        text: between the fences.
    """

    page: Path
    line: int
    language: str
    marker: str | None
    argument: str | None
    text: str

    def __str__(self) -> str:
        return f'{self.page.name}:{self.line}'


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page, in order."""
    found = []
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening:
            end = lines.index('```', number + 1)
            marker = MARKER.match(lines[number - 1]) if number else None
            kind, argument = marker.groups() if marker else (None, None)
            text = '\n'.join(lines[number + 1 : end]) + '\n'
            found.append(Block(page, number + 1, opening[1], kind, argument, text))
            number = end
        number += 1
    return found


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines outside code blocks."""
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith('```'):
            inside = not inside
        elif not inside:
            yield number, line


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block, each as its words; variables that are set in front are left out."""
    joined = re.sub(r'\\\n\s*', ' ', block.text)
    found = (shlex.split(line, comments=True) for line in joined.splitlines())
    return [words[sum('=' in word for word in words[:1]) :] for words in found if words]


def links(page: Path) -> list[str]:
    """Targets of all links and images outside code."""
    text = '\n'.join(re.sub(r'`[^`]*`', '', line) for _, line in prose(page))
    return LINK.findall(text)


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked by."""
    return {slug(line.lstrip('#')) for _, line in prose(page) if re.match(r'#+ ', line)}


def slug(heading: str) -> str:
    """A heading as the site and GitHub turn it into an anchor."""
    return re.sub(r'\s', '-', re.sub(r'[^\w\s-]', '', heading.strip().lower()))
