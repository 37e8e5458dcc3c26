"""The prose of the project keeps to its glossary, and to lines that fit on a page.

Prose is text for people: docstrings, comments, messages, pages. Names in code are not.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

#: Words that have another word in this project.
WORDS = {
    r'pictures?': 'image',
    r'(?<!ground )(?<!ground-)truths?': 'ground truth',
    r'mend(s|ed|ing)?': 'fix',
    r'faults?': 'error',
    r'data sets?': 'dataset',
}
#: Longest line of prose.
LONGEST = 100
#: Folders and files whose prose is checked.
ROOMS = ('mmdet_dab', 'benchmarks', 'tools', 'configs', 'docs', 'README.md', 'CONTRIBUTING.md')
#: Lines of pages that are no prose: tables, code blocks, quotations of output, links on a line of their own.
NO_PROSE = re.compile(r'^\s*(\||!?\[[^\]]*\]\([^)]*\)[.,]?$|\[.*\]: |<)|https?://\S{40,}')
FORBIDDEN = re.compile(rf'\b({"|".join(WORDS)})\b', re.IGNORECASE)


def files() -> Iterator[Path]:
    for room in ROOMS:
        path = ROOT / room
        yield from [path] if path.is_file() else sorted([*path.rglob('*.py'), *path.rglob('*.md')])


def lines_of_page(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a Markdown page without code blocks, tables and front matter."""
    code = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith('```'):
            code = not code
        elif not code and not NO_PROSE.search(line):
            yield number, re.sub(r'`[^`]*`', '', line) if len(line) <= LONGEST else line


def lines_of_code(text: str) -> Iterator[tuple[int, str]]:
    """Lines of docstrings and comments."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                first = node.body[0].lineno
                indent = ' ' * node.body[0].col_offset + '"""'
                for number, line in enumerate(docstring.splitlines()):
                    yield first + number, line if number else indent + line
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            start = token.start[1] if not token.line[: token.start[1]].strip() else 0
            yield token.start[0], ' ' * start + token.string


def messages(text: str) -> Iterator[tuple[int, str]]:
    """Strings with blanks in them, but for docstrings: what people may get to read."""
    tree = ast.parse(text)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            for line in node.value.splitlines() if ' ' in node.value else ():
                yield node.lineno, line


def prose(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text(encoding='utf-8')
    yield from lines_of_page(text) if path.suffix == '.md' else lines_of_code(text)


FILES = list(files())


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_of_prose_are_short(path: Path):
    long = [f'{path.relative_to(ROOT)}:{number}' for number, line in prose(path) if len(line) > LONGEST]
    assert not long


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_glossary(path: Path):
    text = path.read_text(encoding='utf-8')
    lines = [*prose(path), *(messages(text) if path.suffix == '.py' else ())]
    plain = ((number, re.sub(r'`+[^`]*`+', '', line)) for number, line in lines)
    found = [
        f'{path.relative_to(ROOT)}:{number}: {word.group()}'
        for number, line in plain
        for word in FORBIDDEN.finditer(line)
    ]
    assert not found
