"""What tidecv says of the result files of :mod:`tests.helpers.detections`.

``pip install tidecv pandas seaborn appdirs``, then ``python -m tests.helpers.tidecv_oracle`` prints
the figures that are written down in tests/analysis/test_report_numbers.py.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from tests.helpers.detections import annotated, disturbed

#: Names that differ from ours.
NAMES = {'FalsePos': 'FP', 'FalseNeg': 'FN'}


def costs(content: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float]:
    """AP50 and ΔAP by type of error, in hundredths."""
    from tidecv import TIDE, Data

    truth, results = Data('ground truth', max_dets=100), Data('results', max_dets=100)
    for image in content['images']:
        truth.add_image(image['id'], image['file_name'])
    for category in content['categories']:
        truth.add_class(category['id'], category['name'])
    for item in content['annotations']:
        add = truth.add_ignore_region if item['iscrowd'] else truth.add_ground_truth
        add(item['image_id'], item['category_id'], box=item['bbox'])
    for one in found:
        results.add_detection(one['image_id'], one['category_id'], one['score'], box=one['bbox'])
    with contextlib.redirect_stdout(io.StringIO()):
        run = TIDE().evaluate(truth, results, mode=TIDE.BOX)
    gains = {**run.fix_main_errors(), **run.fix_special_errors()}
    return {'AP50': run.ap} | {NAMES.get(kind.short_name, kind.short_name): gain for kind, gain in gains.items()}


if __name__ == '__main__':
    for arguments in (dict(seed=0), dict(seed=1, classes=12, absent=3)):
        content = annotated(**arguments)
        rounded = {name: round(value, 2) for name, value in costs(content, disturbed(content, 5)).items()}
        print(f'{arguments}: {rounded},')
