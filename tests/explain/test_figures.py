"""Figures show what the detector computes: maps against formulas by hand and against recordings."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image

import mmdet_dab
from mmdet_dab import cli
from mmdet_dab.errors import UserError
from mmdet_dab.explain import record_batch
from mmdet_dab.explain.figures import FIGURES, figure_4, figure_10, figure_11
from mmdet_dab.explain.figures.figure_11 import unstable_edges
from mmdet_dab.explain.figures.figure_12 import judge, worst_cases
from mmdet_dab.explain.figures.material import Example, Material, Subject
from mmdet_dab.explain.figures.position import as_attention, code_logits, half_maximum, look, position_logits
from mmdet_dab.explain.tap import tapped
from mmdet_dab.models.positional_encoder import SinePositionalEncoder
from mmdet_dab.models.structures import QueryPosition
from mmdet_dab.registry import MODELS
from tests.helpers import assemblies, explorer_pages, tiny
from tests.helpers.commands import Commands

SHAPE = (48, 64)
CENTER = torch.tensor([[0.5, 0.5, 0.2, 0.2]])


def extent(anchor: list[float], temperature: float = 20, modulated: bool = True) -> tuple[float, float]:
    """Width and height of the half maximum of a map from the formula."""
    encoder = SinePositionalEncoder(256, temperature)
    reference = torch.tensor([0.2, 0.2]) if modulated else None
    return half_maximum(as_attention(code_logits(encoder, torch.tensor([anchor]), SHAPE, reference))[0])


def test_logits_are_the_sum_of_cosines_of_eq_6():
    """PE(x) · PE(x') = Σ cos(2π(x − x') / T^(2i/F)), times w_ref / w, and the same in y; over √D."""
    encoder = SinePositionalEncoder(8, temperature=20)
    x, y, w, h = 0.3, 0.7, 0.1, 0.4
    logits = code_logits(encoder, torch.tensor([[x, y, w, h]]), (3, 5), torch.tensor([0.2, 0.3]))[0]
    for row in range(3):
        for column in range(5):
            dx, dy = 2 * math.pi * (x - (column + 1) / 5), 2 * math.pi * (y - (row + 1) / 3)
            of_x, of_y = (sum(math.cos(d / 20 ** (2 * i / 4)) for i in (0, 1)) for d in (dx, dy))
            expected = (of_x * 0.2 / w + of_y * 0.3 / h) / math.sqrt(8)
            assert logits[row, column] == pytest.approx(expected, abs=1e-4)


def test_the_map_widens_with_the_width_of_the_anchor_and_only_with_it():
    sizes = [extent([0.5, 0.5, w, 0.2]) for w in (0.05, 0.1, 0.2, 0.4)]
    widths, heights = zip(*sizes, strict=True)
    assert list(widths) == sorted(set(widths))
    assert max(heights) - min(heights) < 1e-3
    assert extent([0.5, 0.5, 0.2, 0.2]) == pytest.approx(extent([0.5, 0.5, 0.2, 0.2], modulated=False), abs=1e-4)
    tall = [extent([0.5, 0.5, 0.2, h])[1] for h in (0.1, 0.2, 0.4)]
    assert tall == sorted(set(tall))


def test_the_map_widens_with_the_temperature():
    widths = [extent([0.5, 0.5, 0.2, 0.2], temperature, modulated=False)[0] for temperature in (2, 10, 20, 100)]
    assert widths == sorted(set(widths))


def test_half_maximum_is_counted_between_cells():
    """A triangle of height 4 falls to 2 two cells from its peak: 4 of 9 cells wide; a ridge is as high as the map."""
    row = torch.tensor([0.0, 1, 2, 3, 4, 3, 2, 1, 0])
    assert half_maximum(row.expand(3, 9)) == pytest.approx((4 / 9, 1.0))


# --- Of detectors


@pytest.mark.parametrize('name', ['DAB-DETR', 'Conditional DETR', 'DN', 'anchor-masked'])
def test_position_logits_are_those_that_are_recorded(name: str):
    model = assemblies.build(name)
    inputs, samples = tiny.batch(sizes=[(64, 96)], counts=[0])
    seen = look(model, inputs, samples)
    (recording,) = record_batch(model, inputs, samples)
    for layer, attention in recording.cross.items():
        logits = position_logits(model, seen.queries[layer], layer, seen.tokens)
        torch.testing.assert_close(logits, attention.position, rtol=0, atol=1e-5)
        mean = recording.as_maps(attention.position.softmax(-1).mean(0))
        torch.testing.assert_close(seen.attention(layer, range(len(mean))), mean, rtol=0, atol=1e-6)


def test_for_detr_it_is_the_attention_of_queries_and_cells_without_content():
    model = assemblies.build('DETR')
    seen = look(model, *tiny.batch(sizes=[(64, 96)], counts=[0]))
    attention, queries = model.decoder.layers[1].cross_attention, seen.queries[1]
    empty = replace(seen.tokens, content=torch.zeros_like(seen.tokens.content))
    with torch.no_grad(), tapped(attention, 'attend') as calls:
        attention(torch.zeros_like(queries.position), QueryPosition(queries.position, queries.position), None, empty)
    query, key = calls[0].args[:2]
    expected = (query @ key.mT / math.sqrt(query.size(-1)))[0]
    torch.testing.assert_close(position_logits(model, queries, 1, seen.tokens), expected, rtol=0, atol=1e-5)


def test_padding_gets_nothing_and_is_cut_off():
    model = assemblies.build('DAB-DETR')
    inputs, (sample, _) = tiny.batch(sizes=[(64, 48), (64, 96)], counts=[0, 0])
    seen = look(model, inputs[:1], [sample])
    maps = seen.attention(0, [0, 1])
    assert maps.shape[1:] == (seen.map_shape[0], seen.map_shape[1] // 2)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(2))


def test_a_larger_anchor_widens_the_map_of_a_detector():
    model = assemblies.build('DAB-DETR')
    seen = look(model, *tiny.batch(sizes=[(128, 128)], counts=[0]))
    spreads = []
    for factor in (0.5, 1.0, 2.0):
        maps = seen.attention(1, [0], lambda anchors, by=factor: anchors * torch.tensor([1, 1, by, by]))
        spreads.append(float(-(maps * maps.log()).sum()))  # entropy
    assert spreads == sorted(set(spreads))


@pytest.mark.parametrize(
    ('name', 'word'),
    [
        ('DAB-Deformable', 'DeformableCrossAttention'),
        ('deformable encoder', 'feature levels'),
        ('mmdet_detr_encoding_r50_150e', 'DetrTransformerDecoder'),
        ("mmdet's DABDETR", 'DABDETR'),
    ],
)
def test_detectors_without_such_maps_are_refused(name: str, word: str):
    model = assemblies.build(name)
    with pytest.raises(UserError, match=word):
        look(model, *tiny.batch(sizes=[(64, 96)], counts=[0])).attention(0, [0])


@pytest.mark.parametrize('name', assemblies.ASSEMBLIES)
def test_every_figure_of_every_assembly_is_drawn_or_refused(name: str, tmp_path: Path):
    """With a sentence that names figures which can be drawn, and these can."""
    image = str(explorer_pages.draw_image(tmp_path / 'image.png'))
    truth = explorer_pages.objects('bar').instances(explorer_pages.CLASSES, tmp_path)
    subject = Subject(name, explorer_pages.with_pipeline(assemblies.build(name)), True)
    encoder = getattr(subject.model, 'positional_encoder', SinePositionalEncoder(32))
    drawn, refused = set(), ''
    for number, figure in FIGURES.items():
        try:
            figure.draw(Material([subject], encoder, iter([Example('image.png', image, truth)]), threshold=0.9))
            drawn.add(number)
        except UserError as error:
            refused += f' {error}'
    assert {6, 7, 11, 12} <= drawn
    promised = re.findall(r'figures ([\d, ]+ and \d+) can', refused)
    assert promised or 4 in drawn
    assert {int(number) for text in promised for number in re.findall(r'\d+', text)} <= drawn


@pytest.mark.parametrize(
    ('name', 'word'), [('two stages', 'encoder'), ("mmdet's DABDETR", "mmdet's own"), ('DETR', 'learned')]
)
def test_why_there_are_no_learned_anchors(name: str, word: str):
    with pytest.raises(UserError, match=word):
        figure_10.draw(Material([Subject(name, assemblies.build(name), True)], SinePositionalEncoder(), iter(())))


def test_a_formula_of_dab_detr_has_its_temperature_beside_any_detector():
    subject = Subject('detr', assemblies.build('DETR'), False)
    assert subject.model.positional_encoder.temperature == 10000
    figure = figure_4.draw(Material([subject], subject.model.positional_encoder, iter(())))
    assert [axes.get_ylabel() for axes in figure.axes if 'DAB-DETR' in axes.get_ylabel()] == [
        'DAB-DETR\nformula, T = 20'
    ]


# --- What they look like


def test_long_names_stay_in_their_place(tmp_path: Path):
    """Rows do not run into one another, nor titles."""
    name = 'a_name_of_a_file_that_somebody_has_described_in_full_' * 3
    image = str(explorer_pages.draw_image(tmp_path / f'{name}.png'))
    truth = explorer_pages.objects('bar').instances(explorer_pages.CLASSES, tmp_path)
    subject = Subject(name, explorer_pages.with_pipeline(assemblies.build('DAB-DETR')), True)
    examples = [Example(name, image, truth)] * 3
    for number, figure in FIGURES.items():
        drawn = figure.draw(Material([subject], SinePositionalEncoder(32), iter(examples)))
        drawn.draw_without_rendering()
        texts = [text for axes in drawn.axes for text in (axes.yaxis.label, axes.title) if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        for index, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:index]), (number, texts[index])
            assert drawn.bbox.contains(box.x0 + 1, box.y0 + 1), (number, texts[index])
            assert drawn.bbox.contains(box.x1 - 1, box.y1 - 1), (number, texts[index])


def test_a_high_image_does_not_make_a_high_figure():
    model = explorer_pages.with_pipeline(assemblies.build('DAB-DETR'))
    high = Example('high.png', np.zeros((2000, 100, 3), np.uint8), None)
    figure = figure_11.draw(Material([Subject('x', model, True)], SinePositionalEncoder(32), iter([high])))
    assert figure.get_figheight() < 5


def test_figures_leave_the_windows_of_the_process_alone():
    """As in a notebook, where pyplot's backend is that of the page."""
    code = (
        'import matplotlib; matplotlib.use("svg"); from matplotlib import pyplot; '
        'from mmdet_dab.analysis import browsing, curves, figures; from mmdet_dab.data import sample_sheet; '
        'from mmdet_dab.explain.figures import figure_7; assert pyplot.get_backend() == "svg", pyplot.get_backend()'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


# --- Boxes and errors


def test_an_edge_is_unstable_where_it_moves_away_from_its_end():
    """One box of four layers: the left edge goes 0.2, 0.4, 0.3, 0.3; right, top and bottom stay."""
    lefts = torch.tensor([0.2, 0.4, 0.3, 0.3])
    boxes = torch.stack(((lefts + 0.8) / 2, torch.full((4,), 0.5), 0.8 - lefts, torch.full((4,), 0.2)), -1)[:, None]
    assert not unstable_edges(boxes).any(), 'as far on the other side is no step away'
    lefts[1] = 0.45
    boxes = torch.stack(((lefts + 0.8) / 2, torch.full((4,), 0.5), 0.8 - lefts, torch.full((4,), 0.2)), -1)[:, None]
    expected = torch.zeros(4, 1, 4, dtype=torch.bool)
    expected[1, 0, 0] = True
    assert torch.equal(unstable_edges(boxes), expected)


def example(boxes: list[list[float]], labels: list[int], name: str = 'x.png') -> Example:
    objects = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long))
    return Example(name, np.zeros((40, 60, 3), np.uint8), objects)


def found(boxes: list[list[float]], labels: list[int]) -> InstanceData:
    scores = torch.linspace(0.5, 0.9, len(boxes))  # the last one is the best
    return InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long), scores=scores
    )


def test_every_object_is_found_once_and_by_its_class():
    objects = example([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 1])
    boxes = [[0.0, 0, 10, 10], [40, 0, 50, 10], [20, 20, 30, 30], [0, 0, 10, 9]]
    judged = judge(objects, found(boxes, [0, 0, 0, 0]))
    assert judged.missed.tolist() == [False, True, True]
    assert judged.false.tolist() == [False, True, True, True], 'best first: hit, elsewhere, other class, a second time'
    assert judged.errors == 5
    nothing = judge(example([], []), found([], []))
    assert nothing.errors == 0


def test_worst_images_come_first_and_need_ground_truth(monkeypatch: pytest.MonkeyPatch):
    from mmdet_dab.explain.figures import figure_12

    sample = SimpleNamespace(pred_instances=found([[0.0, 0, 10, 10]], [0]))
    monkeypatch.setattr(figure_12, 'inference_detector', lambda model, image: sample)
    right, empty = example([[0.0, 0, 10, 10]], [0], 'right'), example([], [], 'empty')
    cases = worst_cases(None, [right, empty], 0.3)
    assert [(case.example.name, case.errors) for case in cases] == [('empty', 1), ('right', 0)]
    assert [case.errors for case in worst_cases(None, [right], 0.6)] == [1], 'below the threshold'
    with pytest.raises(UserError, match='--annotations'):
        worst_cases(None, [Example('x', np.zeros((4, 4, 3), np.uint8))], 0.3)


# --- The command


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the demo's detector, untrained."""
    config = mmdet_dab.load_config('shapes/demo')
    path = tmp_path_factory.mktemp('weights') / 'demo.pth'
    torch.manual_seed(0)
    meta = dict(dataset_meta=dict(config.shapes.metainfo))
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict(), meta=meta), path)
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(monkeypatch, capfd)


def test_all_figures_of_a_detector_are_drawn(command: Commands, weights: Path):
    printed = command('figures', 'shapes/demo', weights, '--limit', 3, '--score-thr', 0.0)
    for number in (4, 6, 7, 10, 11, 12):
        assert f'figures/figure_{number}.png' in printed
        assert Image.open(f'figures/figure_{number}.png').width > 300
        assert Path(f'figures/figure_{number}.svg').read_text().startswith('<?xml')


def test_what_cannot_be_drawn_is_said_and_the_rest_goes_on(command: Commands, weights: Path):
    """Images without ground truth have no worst cases; asked for, these are an error."""
    Image.new('RGB', (80, 60), 'red').save('red.png')
    arguments = ['figures', 'shapes/demo', str(weights), '--images', 'red.png']
    assert 'figure 12 is left out' in command(*arguments)
    assert sorted(path.stem for path in Path('figures').glob('*.png')) == sorted(
        f'figure_{n}' for n in (4, 6, 7, 10, 11)
    )


def test_figure_12_takes_the_ground_truth_of_files(command: Commands, weights: Path):
    Image.new('RGB', (80, 60), 'red').save('red.png')
    arguments = ['figures', 'shapes/demo', str(weights), '--images', 'red.png', '--only', '12', '--annotations']
    write_annotations('red.json', 'ring')
    command(*arguments, 'red.json')
    assert Path('figures/figure_12.png').exists()


def write_annotations(file: str, category: str, image: str = 'red.png') -> None:
    box = dict(id=1, image_id=1, category_id=1, bbox=[10, 10, 20, 20], area=400, iscrowd=0)
    images = [dict(id=1, file_name=image, width=80, height=60)]
    Path(file).write_text(json.dumps(dict(images=images, annotations=[box], categories=[dict(id=1, name=category)])))


def test_bad_input_is_refused_before_anything_is_drawn(command: Commands, weights: Path, tmp_path: Path):
    Image.new('RGB', (80, 60), 'red').save('red.png')
    Path('none.png').write_text('no image')
    Path('empty').mkdir()
    Path('file').write_text('a file')
    write_annotations('cup.json', 'cup')
    write_annotations('other.json', 'ring', 'other.png')
    shorter = torch.load(weights)
    shorter['state_dict'] = {name.replace('decoder', 'coder'): tensor for name, tensor in shorter['state_dict'].items()}
    torch.save(shorter, 'other.pth')
    ours = ('figures', 'shapes/demo', weights)
    wrong: list[tuple[tuple, str]] = [
        ((*ours, '--images', 'red.png', '--only', '7,12'), '--annotations'),
        ((*ours, '--images', 'red.png', '--annotations', 'cup.json'), "'cup'"),
        ((*ours, '--images', 'red.png', '--annotations', 'other.json'), 'does not list red.png'),
        ((*ours, '--images', 'red.png', '--annotations', 'nowhere.json'), 'nowhere.json'),
        ((*ours, '--annotations', 'cup.json'), '--images'),
        ((*ours, '--images', 'red.png', 'none.png'), 'none.png is not an image'),
        ((*ours, '--images', 'empty'), 'empty: the folder holds no image'),
        ((*ours, '--images', 'nowhere.png'), 'nowhere.png does not exist'),
        ((*ours, '--layer', 9), '--layer 9'),
        ((*ours, '--layer', 0), '--layer 0'),
        ((*ours, '--limit', 0), '--limit 0'),
        ((*ours, '--out', 'file'), '--out file'),
        ((*ours, '--out', 'file/figures'), '--out file/figures'),
        ((*ours[:2], 'nowhere.pth'), 'nowhere.pth'),
        ((*ours[:2], 'other.pth'), 'other.pth'),
        ((*ours[:2], '--only', '7,11'), 'checkpoint'),
        ((*ours[:2], '--only', '12'), 'checkpoint'),
        ((*ours, '--beside', 'shapes/demo', 'nowhere.pth'), 'nowhere.pth'),
        (('figures', 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', '--only', '7'), 'no decoder queries'),
    ]
    before = sorted(tmp_path.rglob('*'))
    for arguments, word in wrong:
        assert word in command.error(*arguments), arguments
    with pytest.raises(SystemExit) as ended:
        cli.main(['figures', 'shapes/demo', '--only', '5'])
    assert ended.value.code == 2
    assert sorted(tmp_path.rglob('*')) == before


def test_without_weights_the_formulas_are_drawn_and_nothing_that_was_not_learned(command: Commands):
    command('figures', 'mix/road/0_detr_shapes', '--only', '4,7')
    assert sorted(path.name for path in Path('figures').iterdir()) == [
        f'figure_{number}.{ending}' for number in (4, 7) for ending in ('png', 'svg')
    ]
    assert 'learned positions' in command.error('figures', 'mix/road/0_detr_shapes', '--only', '10')


def test_kinds_are_known_by_their_anchors():
    kinds = [Subject(name, assemblies.build(name), False).kind for name in ('DETR', 'Conditional DETR', 'DN')]
    assert kinds == ['DETR', 'Conditional DETR', 'DAB-DETR']


def test_images_are_read_as_they_are_needed():
    numbers = iter(range(10))
    material = Material([], SinePositionalEncoder(), (example([], [], str(n)) for n in numbers))
    assert [item.name for item in material.examples(2)] == ['0', '1']
    assert next(numbers) == 2
