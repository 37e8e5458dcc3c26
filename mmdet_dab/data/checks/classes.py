"""Which classes a training gets: those that were named, held against those that are found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from mmdet_dab.data.annotations import Annotations
from mmdet_dab.data.checks.annotations import check_classes, did_you_mean
from mmdet_dab.data.checks.finding import Finding
from mmdet_dab.errors import DataError, listed


def choose_classes(
    splits: Sequence[Annotations], kind: str, named: Sequence[str] | None
) -> tuple[list[str], list[Finding]]:
    """Names by label, and what is wrong with them.

    Args:
        splits: training and validation.
        kind: of the source: ``coco``, ``voc`` or ``yolo``.
        named: by the user; None: COCO's categories that have objects, VOC's names that occur, YOLO's list.

    Returns:
        names in the order of the training file's categories, since mmdet numbers labels in that order.
    """
    train, val = splits
    used = [_objects(split) for split in splits]
    names = train.names()
    findings = []
    if named is None:
        classes = names if kind == 'yolo' else [name for name in names if used[0][name] or used[1][name]]
        unused = [name for name in names if name not in classes]
        if unused:
            findings.append(Finding(train.source, f'{len(unused)} categories have no object and are left out', unused))
        findings += _near_twins(train, classes)
    else:
        classes = _named_classes(train, names, used[0] + used[1], named)
        if classes != list(named):
            what = f'classes are taken in the order of the file, {listed(classes, 20)}'
            findings.append(Finding(train.source, what, mend='mmdet numbers the labels so'))
    if not classes:
        findings.append(Finding(train.source, 'there is no object of any class', stops=True))
    for split in splits:
        findings += check_classes(split, classes)
    findings += _only_in_validation(train, val, used, classes)
    return classes, findings


def _objects(data: Annotations) -> Counter[str]:
    """Objects by name of their category."""
    names = {category['id']: category['name'] for category in data.categories}
    return Counter(names[item['category_id']] for item in data.objects if item['category_id'] in names)


def _named_classes(train: Annotations, names: Sequence[str], used: Counter[str], named: Sequence[str]) -> list[str]:
    """The named ones in the order of the file.

    Raises:
        DataError: a named class does not exist, or no object has it.
    """
    missing = [name for name in named if not used[name]]
    if missing:
        found = [name for name in names if used[name]]
        near = [f"'{name}'{did_you_mean(name, found)}" for name in missing]
        counts = [f'{name} ({used[name]})' for name in found]
        raise DataError(f'{train.source}: no object is called {listed(near)}; found are {listed(counts, 20)}')
    return [name for name in names if name in named]


def _near_twins(data: Annotations, classes: Sequence[str]) -> list[Finding]:
    """Names that are equal but for case and blanks: one class that was written in two ways."""
    groups = defaultdict(list)
    for name in classes:
        groups[' '.join(name.split()).lower()].append(name)
    twins = [' and '.join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not twins:
        return []
    mend = 'call one class by one name, or name by --classes what is meant'
    return [Finding(data.source, 'names of classes differ in case or blanks only', twins, True, mend)]


def _only_in_validation(
    train: Annotations, val: Annotations, used: Sequence[Counter[str]], classes: Sequence[str]
) -> list[Finding]:
    findings = []
    foreign = [name for name in used[1] if name not in train.names()]
    if foreign:
        near = [f"'{name}'{did_you_mean(name, train.names())}" for name in foreign]
        what = f'{sum(used[1][name] for name in foreign)} objects are of categories that {train.source} does not have'
        findings.append(Finding(val.source, what, near, True, 'names must be the same on both sides'))
    never = [name for name in classes if not used[0][name]]
    if never:
        what = f'{len(never)} of {len(classes)} classes have no object to learn from'
        findings.append(
            Finding(train.source, what, never, mend='they will not be found, and count in the AP if val has some')
        )
    return findings
