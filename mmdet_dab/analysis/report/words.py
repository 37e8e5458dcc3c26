"""What a report says in sentences: the most important things first, and what to do about errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmdet_dab.analysis.report.evaluate import Evaluation
from mmdet_dab.analysis.report.thresholds import shown
from mmdet_dab.errors import plural

#: With fewer objects the AP of a class is mostly chance.
FEW = 20
#: Precision of a calibrated score: a distance that is worth a sentence.
OFF = 0.1

#: What a type of error is, in a few words.
MEANING = {
    'Cls': 'wrong class, box right',
    'Loc': 'right class, box too far off (IoU 0.1 to 0.5)',
    'Both': 'wrong class and box too far off',
    'Dupe': 'found twice',
    'Bkg': 'nothing annotated there',
    'Miss': 'object not found',
    'FP': 'all false detections',
    'FN': 'all objects not found',
}
#: What it is called in a sentence.
NAME = {
    'Cls': 'wrong classes (Cls)',
    'Loc': 'boxes too far off (Loc)',
    'Both': 'wrong class and box (Both)',
    'Dupe': 'objects found twice (Dupe)',
    'Bkg': 'detections on nothing (Bkg)',
    'Miss': 'missed objects (Miss)',
}
#: What to do next.
ADVICE = {
    'Cls': 'Look at the confused pairs and the false alarms: are their classes annotated consistently? If so, '
    'more images of the rarer class help most.',
    'Loc': 'Look at the boxes among the false alarms: are objects annotated tightly and in the same way? '
    'Longer training, or larger images for small objects, sharpens boxes.',
    'Both': 'Look at the false alarms: the model mistakes parts or neighbours for objects. More images, and '
    'longer training, help.',
    'Dupe': 'Raise the score threshold, or train longer: a DETR learns late to find each object only once.',
    'Bkg': 'Look at the suspected label errors first: they may be objects that nobody annotated. If they are '
    'not, add images of what is mistaken, without objects.',
    'Miss': 'Look at the misses: what they have in common (small, dark, cut off, crowded) is what more training '
    'images should show. Small objects need larger images.',
}


def lead(done: Evaluation) -> str:
    """One paragraph: AP, the largest error, the threshold, the worst class, what to look at."""
    return ' '.join(_sentences(done))


def _sentences(done: Evaluation) -> Iterator[str]:
    gt = done.gt
    images, kinds = len(gt.data.images), int(np.isfinite(done.class_ap).sum())
    yield (
        f'AP is {done.ap.summary["AP"]:.3f}, and AP50 {done.ap.summary["AP50"]:.3f}, on {plural(images, "image")} '
        f'with {plural(len(gt.objects), "object")} of {plural(kinds, "class", "classes")}.'
    )
    if not len(done.found):
        yield (
            'There is no detection at all: the result file is empty. Check that the detector was trained for these '
            'classes, and that no score threshold cut everything off.'
        )
        return
    best = done.best
    if best is None:
        yield (
            'No detection is right at an IoU of 0.5. Check that class names and ids of the detector and of the '
            'annotations are the same, and look at the galleries: where do its boxes lie?'
        )
        return
    largest = done.costs.largest()
    if done.costs.gain[largest] >= 0.05:
        yield (
            f'The largest error is {NAME[largest]}: without it, AP50 would be {done.costs.gain[largest]:.1f} points '
            f'higher. {ADVICE[largest]}'
        )
    yield (
        f'Use a score threshold of {shown(best.threshold)}: it finds {best.recall:.0%} of the objects, and '
        f'{best.precision:.0%} of what it reports is right.'
    )
    yield from _worst_class(done)
    suspected = done.galleries.suspected
    if suspected:
        yield (
            f'{plural(suspected, "detection")} with a high score {"lies" if suspected == 1 else "lie"} on nothing '
            'that is annotated: perhaps objects that were forgotten.'
        )


def _worst_class(done: Evaluation) -> Iterator[str]:
    if len(done.worst_first) < 2:
        return
    worst = done.worst_first[0]
    number = int(done.gt.counts[worst])
    text = f'The worst class is {tidy(done.gt.names[worst])}: AP {done.class_ap[worst]:.3f}, {plural(number, "object")}'
    yield text + (', too few to tell it from chance.' if number < FEW else '.')


def calibration_sentence(done: Evaluation) -> str:
    """Whether scores can be read as probabilities."""
    if not done.confident.count.sum():
        return ''
    bias = done.confident.bias()
    start = f'From the suggested threshold on, scores are {abs(bias):.2f} '
    if abs(bias) < OFF <= done.confident.error:
        return start + 'off on average, but some are far too high and others too low: look at the bars.'
    if abs(bias) < OFF:
        return start + 'off on average: they can be read as the chance that a detection is right.'
    if bias > 0:
        return start + 'too high on average: the detector promises more than it keeps.'
    return start + 'too low on average: detections are right more often than their scores say.'


def tidy(name: str) -> str:
    """A name on one line, without control characters."""
    return ' '.join(''.join(letter if letter.isprintable() else ' ' for letter in name).split()) or '(no name)'
