"""Checks of class names, and which classes a training run gets."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.finding import Finding, are
from mmdet_dab.errors import DataError, listed, plural

#: Characters that end a line, have no shape or cannot be written: Unicode's categories.
UNUSABLE = ('Cc', 'Cs', 'Zl', 'Zp')


def check_categories(data: Annotations) -> list[Finding]:
    """Ids and names that repeat, and names that no config or drawing can hold."""
    findings = []
    for key in ('id', 'name'):
        counts = Counter(category[key] for category in data.categories)
        repeated = [f'{value!r}: {count} times' for value, count in counts.items() if count > 1]
        if repeated:
            what = plural(len(repeated), f'repeated category {key}')
            findings.append(Finding(data.source, what, repeated, True, f'Give each class a {key} of its own'))
    odd = [f'{name!r} {problem}' for name in dict.fromkeys(data.names()) if (problem := name_problem(name))]
    if odd:
        what = f'{plural(len(odd), "class name")} cannot be used'
        findings.append(Finding(data.source, what, odd, True, 'Rename the class'))
    return findings


def name_problem(name: str) -> str:
    """Why a class cannot be called so; empty if it can."""
    if not name.strip():
        return 'is empty'
    if any(unicodedata.category(character) in UNUSABLE for character in name):
        return 'has a line end or another control character'
    if '{{' in name:
        return "has '{{', which marks variables in configs"
    dollars = name.count('$') - name.count('\\$')
    if dollars and dollars % 2 == 0:
        return 'has dollar signs in pairs, which mark formulas where boxes are drawn'
    return ''


def check_classes(data: Annotations, classes: Sequence[str], *, training: bool) -> list[Finding]:
    """Whether a training run on ``classes`` gets the labels it thinks.

    mmdet numbers them in the order of the file. A name that the file does not have is silently left
    out by mmdet, and shifts all labels behind it.

    Args:
        data: one split; of a file that is not read to its end the categories alone.
        classes: by label.
        training: whether it is trained on; else evaluated.
    """
    names = data.names()
    unknown = _without(classes, names)
    if unknown:
        what = f'there is no category {listed_with_meant(unknown, names)}'
        return [Finding(data.source, what, stops=True, fix=f'Its categories are {listed(names, 20)}')]
    wanted = set(classes)
    order = [name for name in names if name in wanted]
    if order != list(classes):
        what = f'classes are in the order {listed(classes, 20)}, the categories of the file are not'
        fix = f'mmdet numbers labels by the file: put its categories into that order or write classes={tuple(order)!r}'
        return [Finding(data.source, what, stops=True, fix=fix)]
    if not data.objects:
        return []
    findings = []
    left_out = int((data.labels(classes) < 0).sum())
    if left_out:
        others = _without(names, classes)
        what = f'{left_out:,} of {plural(len(data.objects), "object")} {are(left_out)} of categories not asked for'
        findings.append(Finding(data.source, what, others, fix='They count as background'))
    return findings + (_check_learnable(data, classes) if training else [])


def _check_learnable(data: Annotations, classes: Sequence[str]) -> list[Finding]:
    """Classes that have no object, or only crowds and difficult ones, to learn from."""
    labels = data.labels(classes)
    counts = np.bincount(labels[data.counted & (labels >= 0)], minlength=len(classes))
    never = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not never:
        return []
    stops = len(never) == len(classes)
    what = f'{len(never):,} of {plural(len(classes), "class", "classes")} {"has" if len(never) == 1 else "have"} '
    what += 'no object to learn from: crowds and difficult ones do not count'
    fix = 'Annotate some' if stops else 'They will not be found, and count in the AP if the validation images have some'
    return [Finding(data.source, what, never, stops, fix)]


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    excluded = set(others)
    return [name for name in names if name not in excluded]


def listed_with_meant(unknown: Sequence[str], names: Sequence[str], at_most: int = 3) -> str:
    """Names that do not exist, each with the one that was probably meant."""
    folded = {name.strip().lower(): name for name in names}
    shown = []
    for name in unknown[:at_most]:  # each is held against all names
        near = difflib.get_close_matches(name.strip().lower(), folded, n=1)
        shown.append(f"'{name}'" + (f" (did you mean '{folded[near[0]]}'?)" if near else ''))
    return listed([*shown, *unknown[at_most:]], at_most)


# --- Choosing


def choose_classes(
    splits: Sequence[Annotations], kind: str, named: Sequence[str] | None
) -> tuple[list[str], list[Finding]]:
    """Names by label, and what is wrong with them.

    Args:
        splits: training and validation.
        kind: of the source: ``coco``, ``voc`` or ``yolo``.
        named: by the user; None: COCO's categories that have objects, VOC's names that occur,
            YOLO's list.

    Returns:
        names in the order of the training file's categories, since mmdet numbers labels in that
        order.
    """
    train, val = splits
    used = [_objects(split) for split in splits]
    names = train.names()
    findings = []
    if named is None:
        classes = names if kind == 'yolo' else [name for name in names if used[0][name] or used[1][name]]
        unused = _without(names, classes)
        if unused:
            what = f'{plural(len(unused), "category", "categories")} without an object, left out'
            findings.append(Finding(train.source, what, unused))
        findings += _near_twins(train, classes)
    else:
        classes = _named_classes(train, names, used[0] + used[1], named)
        if classes != list(named):
            what = f'classes are taken in the order of the file, {listed(classes, 20)}'
            findings.append(Finding(train.source, what, fix='mmdet numbers the labels so'))
    if not classes:
        findings.append(Finding(train.source, 'there is no object of any class', stops=True, fix='Annotate some'))
    for split, training in zip(splits, (True, False), strict=True):
        findings += check_classes(split, classes, training=training)
    findings += _only_in_validation(train, val, used[1])
    return classes, findings


def _objects(data: Annotations) -> Counter[str]:
    """Objects by name of their category."""
    counts = np.bincount(data.category_index[data.category_index >= 0], minlength=len(data.categories)).tolist()
    found: Counter[str] = Counter()
    for name, count in zip(data.names(), counts, strict=True):
        found[name] += count
    return found


def _named_classes(train: Annotations, names: Sequence[str], used: Counter[str], named: Sequence[str]) -> list[str]:
    """The named ones in the order of the file.

    Raises:
        DataError: a named class does not exist, or no object has it.
    """
    missing = [name for name in named if not used[name]]
    if missing:
        found = [name for name in names if used[name]]
        counts = [f'{name} ({used[name]:,})' for name in found]
        raise DataError(
            f'{train.source}: no object is called {listed_with_meant(missing, found)}. '
            f'Found are {listed(counts, 20)}; correct --classes.'
        )
    wanted = set(named)
    return [name for name in names if name in wanted]


def _near_twins(data: Annotations, classes: Sequence[str]) -> Iterator[Finding]:
    """Names that are equal but for case and blanks: one class that was written in two ways."""
    groups = defaultdict(list)
    for name in classes:
        groups[' '.join(name.split()).lower()].append(name)
    twins = [' and '.join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if twins:
        fix = 'Call one class by one name, or name by --classes what is meant'
        yield Finding(data.source, 'class names differ in case or blanks only', twins, True, fix)


def _only_in_validation(train: Annotations, val: Annotations, used: Counter[str]) -> Iterator[Finding]:
    foreign = _without([name for name, count in used.items() if count], train.names())
    if foreign:
        number = sum(used[name] for name in foreign)
        what = f'{plural(number, "object")} of categories that {train.source} does not have: '
        what += listed_with_meant(foreign, train.names())
        yield Finding(val.source, what, stops=True, fix='Use the same names on both sides')
