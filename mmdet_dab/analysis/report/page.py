"""The report as a page (HTML, one file that loads nothing) and as Markdown with image files."""

from __future__ import annotations

import base64
import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmdet_dab.analysis.report import charts, words
from mmdet_dab.analysis.report.charts import Line, Mark
from mmdet_dab.analysis.report.coco_ap import SIZES, THRESHOLDS
from mmdet_dab.analysis.report.evaluate import Evaluation
from mmdet_dab.analysis.report.gallery import Case
from mmdet_dab.analysis.report.thresholds import shown
from mmdet_dab.analysis.report.tide import ALL_TYPES
from mmdet_dab.analysis.report.tiles import Loader, Tile, draw
from mmdet_dab.errors import UserError, plural

#: Classes with a row of their own at once, with a chart, and in the matrix; confusions in the list.
MOST_ROWS, MOST_CHARTS, MOST_IN_MATRIX, MOST_PAIRS = 20, 12, 15, 20
#: Letters of a class name that are shown, in a row and above a column.
LONGEST_NAME, LONGEST_COLUMN = 60, 24
PAGE, TEXT, IMAGES, CHARTS = 'report.html', 'report.md', 'gallery', 'charts'
#: What Markdown gives a meaning.
MARKDOWN = re.compile(r'([\\`*_{}\[\]<>#|~$&!])')

#: Backslashes do not help within HTML.
ENTITIES = {'<': '&lt;', '>': '&gt;', '&': '&amp;'}

GALLERIES = (
    (
        'label_errors',
        'Suspected label errors',
        'Detections as sure as the right ones, on nothing that is annotated. If an object is there, annotate it: '
        'such objects lower the measured AP, and in training they teach the model to miss.',
    ),
    ('misses', 'Worst misses', 'Objects that were not detected, first those that no detection of any score fits.'),
    ('false_alarms', 'False alarms', 'Other wrong detections, those with the highest scores first.'),
    ('confused', 'Confused pairs', 'The box fits, the class does not; those with the highest scores first.'),
)


#: Names of the images of a gallery.
DRAWN = re.compile(rf'({"|".join(key for key, *_ in GALLERIES)})_\d+_(detected|annotated)\.jpg')


@dataclass(frozen=True)
class Speed:
    """How fast the test ran that made the detections."""

    images_per_second: float
    where: str


def prepare(folder: Path) -> None:
    """Create the folder of a report, before work starts.

    Raises:
        UserError: it, or a folder in it, is a file or cannot be created.
    """
    try:
        for name in ('', IMAGES, CHARTS):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'{error.filename}: no folder can be created there ({error.strerror}). Name another.'
        ) from error


def write(
    done: Evaluation, folder: Path, title: str, load: Loader | None = None, speed: Speed | None = None
) -> list[Path]:
    """Write ``report.html``, ``report.md`` and the images of the latter.

    Args:
        done: the numbers.
        folder: it is created; the files of an older report in it are replaced, and no others.
        title: of the page.
        load: gives images for the galleries; None: no galleries.
        speed: of the test, if one was made.

    Returns:
        the page and the Markdown file.
    """
    prepare(folder)
    for path in (folder / IMAGES).iterdir():
        if DRAWN.fullmatch(path.name):
            path.unlink()
    tiles = {} if load is None else {key: _tiles(done, key, load) for key, *_ in GALLERIES}
    content = _content(done, title, speed, tiles)
    environment = Environment(
        loader=PackageLoader('mmdet_dab.analysis.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        md=markdown, data=data_uri, number=number, percent=percent, threshold=shown, tidy=short, plural=plural
    )
    for name in (PAGE, TEXT):
        text = environment.get_template(f'{name}.j2').render(content)
        (folder / name).write_text(text, encoding='utf-8')
    _write_images(folder, content['charts'], tiles)
    return [folder / PAGE, folder / TEXT]


def _tiles(done: Evaluation, key: str, load: Loader) -> list[Tile]:
    cases: list[Case] = getattr(done.galleries, key)
    return draw(cases, load, done.found, done.gt, done.threshold)


def _write_images(folder: Path, drawn: dict[str, Markup], tiles: dict[str, list[Tile]]) -> None:
    for name, svg in drawn.items():
        (folder / CHARTS / f'{name}.svg').write_text(charts.standalone(svg), encoding='utf-8')
    for key, some in tiles.items():
        for place, tile in enumerate(some):
            (folder / IMAGES / f'{key}_{place}_detected.jpg').write_bytes(tile.detected)
            (folder / IMAGES / f'{key}_{place}_annotated.jpg').write_bytes(tile.annotated)
    if not any(tiles.values()):
        with contextlib.suppress(OSError):  # it holds files of the user
            (folder / IMAGES).rmdir()


def _content(done: Evaluation, title: str, speed: Speed | None, tiles: dict[str, list[Tile]]) -> dict[str, Any]:
    """What the templates name."""
    rows = _class_rows(done)
    top = done.costs.gain[done.costs.largest()] or 1.0
    return dict(
        title=title,
        lead=words.lead(done),
        done=done,
        speed=speed,
        source=str(done.gt.data.source),
        sizes=SIZES,
        size_counts=_size_counts(done),
        classes=rows,
        many=len(rows) > MOST_ROWS,
        longest_column=LONGEST_COLUMN,
        shown_classes=rows[: MOST_ROWS // 2] if len(rows) > MOST_ROWS else rows,
        errors=[
            dict(
                type=kind,
                meaning=words.MEANING[kind],
                gain=done.costs.gain[kind],
                count=done.costs.count[kind],
                share=max(0.0, done.costs.gain[kind]) / top,
                advice=words.ADVICE.get(kind, ''),
            )
            for kind in ALL_TYPES
        ],
        calibration=words.calibration_sentence(done),
        matrix=_matrix(done),
        pairs=done.confusion.top(MOST_PAIRS),
        names=done.gt.names,
        charts=_charts(done),
        class_charts=_class_charts(done),
        galleries=[
            dict(key=key, title=name, text=text, cases=_captions(done, tiles.get(key, [])))
            for key, name, text in GALLERIES
        ],
        has_galleries=bool(tiles),
        style=Markup(charts.STYLE),
    )


def _class_rows(done: Evaluation) -> list[dict[str, Any]]:
    """A row for each class, the worst first; classes without objects last."""
    ap50, ap75 = done.ap.by_class(0.5), done.ap.by_class(0.75)
    by_size = {size: done.ap.by_class(size=size) for size in SIZES}
    counts = done.gt.counts
    without = [label for label in range(len(counts)) if label not in set(done.worst_first)]
    return [
        dict(
            name=done.gt.names[label],
            objects=int(counts[label]),
            ap=float(done.class_ap[label]),
            ap50=float(ap50[label]),
            ap75=float(ap75[label]),
            sizes=[float(by_size[size][label]) for size in SIZES],
            best=done.classes[label].best(),
        )
        for label in [*done.worst_first, *without]
    ]


def _size_counts(done: Evaluation) -> dict[str, int]:
    """Objects of each of COCO's sizes, by the area of the annotation."""
    areas = np.array([done.gt.data.objects[index]['area'] for index in done.gt.objects.tolist()], dtype=float)
    edges = done.ap.evaluation.params
    ranges = dict(zip(edges.areaRngLbl, edges.areaRng, strict=True))
    return {size: int(((areas >= ranges[size][0]) & (areas <= ranges[size][1])).sum()) for size in SIZES}


def _matrix(done: Evaluation) -> dict[str, Any]:
    """The confusion matrix, of those classes that are confused most; its rows and columns."""
    labels = done.confusion.most_confused(MOST_IN_MATRIX)
    nothing = len(done.gt.names)
    places = [*labels, nothing]
    cells = done.confusion.matrix[np.ix_(places, places)]
    totals = done.confusion.matrix[places].sum(axis=1)
    return dict(
        names=[done.gt.names[label] for label in labels],
        complete=len(labels) == nothing,
        rows=[
            [(int(cell), cell / total if total and place < len(labels) else 0.0) for cell in row]
            for place, (row, total) in enumerate(zip(cells, totals, strict=True))
        ],
    )


def _charts(done: Evaluation) -> dict[str, Markup]:
    recall = np.linspace(0, 1, 101)
    at = np.linspace(0, 1, 101)
    precision, found, f1 = done.overall.at(at)
    mark = None if done.best is None else Mark(shown(done.threshold), done.threshold)
    reliability = done.calibration
    edges = np.linspace(0, 1, len(reliability.count) + 1)
    filled = reliability.count > 0
    lines = [Line('IoU 0.5', recall, done.ap.curve(0.5), 0), Line('IoU 0.75', recall, done.ap.curve(0.75), 1)]
    return {
        'precision_recall': charts.chart(
            [*lines, Line('mean 0.5–0.95', recall, done.ap.curve(), 2)],
            'recall',
            'precision',
            'Precision by recall, the mean over classes',
        ),
        'threshold': charts.chart(
            [Line('precision', at, precision, 0), Line('recall', at, found, 1), Line('F1', at, f1, 2)],
            'score threshold',
            'share',
            'Precision, recall and F1 by score threshold',
            mark=mark,
        ),
        'ap_above': charts.chart(
            [Line('AP', THRESHOLDS, done.ap.above(), 0)], 'score threshold', 'AP', 'AP by score threshold', mark=mark
        ),
        'reliability': charts.chart(
            [Line('perfect', [0, 1], [0, 1], 'thin'), Line('measured', reliability.score, reliability.precision, 0)],
            'score',
            'share that is right',
            'Share of right detections by score',
            bars=[
                (float(edges[place]), float(edges[place + 1]), float(reliability.precision[place]))
                for place in np.flatnonzero(filled).tolist()
            ],
        ),
    }


def _class_charts(done: Evaluation) -> list[tuple[str, Markup]]:
    """Name and chart of the classes with the lowest AP."""
    recall = np.linspace(0, 1, 101)
    found = []
    for label in done.worst_first[:MOST_CHARTS]:
        precision = done.ap.precision[:, :, label]
        lines = [Line('IoU 0.5', recall, precision[0], 0), Line('IoU 0.75', recall, precision[5], 1)]
        name = short(done.gt.names[label])
        found.append((name, charts.chart(lines, 'recall', 'precision', f'Precision by recall, {name}')))
    return found


def _captions(done: Evaluation, tiles: list[Tile]) -> list[dict[str, Any]]:
    found, gt = done.found, done.gt
    captions = []
    for tile in tiles:
        case = tile.case
        detected = None if case.detection is None else gt.names[found.category[case.detection]]
        captions.append(
            dict(
                tile=tile,
                file=gt.data.images[case.image]['file_name'],
                detected=detected,
                score=None if case.detection is None else float(found.scores[case.detection]),
                annotated=None if case.target is None else gt.names[gt.category[case.target]],
                note=case.note,
            )
        )
    return captions


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name on one line, cut where it is very long."""
    name = words.tidy(name)
    return name if len(name) <= longest else f'{name[: longest - 1]}…'


def markdown(text: str) -> Markup:
    """Text without a meaning in Markdown or HTML."""
    return Markup(MARKDOWN.sub(lambda match: ENTITIES.get(match[0], f'\\{match[0]}'), text))


def data_uri(content: bytes) -> str:
    """An image within the page."""
    return 'data:image/jpeg;base64,' + base64.b64encode(content).decode()


def number(value: float, digits: int = 3) -> str:
    """A figure from 0 to 1; a dash where there is none."""
    return f'{value:.{digits}f}' if np.isfinite(value) else '–'


def percent(value: float) -> str:
    """A share in percent; a dash where there is none."""
    return f'{value:.0%}' if np.isfinite(value) else '–'
