"""The explorer page in a real browser: what it shows is what was recorded."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mmdet_dab.errors import DataError, UserError
from mmdet_dab.explain import Recording, page_data, record
from mmdet_dab.explain.explorer import Detector, explore
from tests.helpers.explorer_pages import CLASSES, Opened, browser, detector, draw_image, objects, write

MARKUP = '</script><img src=x onerror="window.hacked=1">&amp;\u2028'
WEIGHTS = """({side, layer, row, part, head}) =>
    explorer.weightsOf(explorer.sides()[side], layer, row, part, head)"""
MAP = '(side) => explorer.sides()[side].map()'


@pytest.fixture(scope='module')
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@dataclass
class Shown:
    """A page in the browser, and what it was made of."""

    opened: Opened
    detector: Detector
    image: Path
    recording: Recording


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('pages')


def shown(chromium: Any, folder: Path, name: str, **arguments: Any) -> Shown:
    one, image = detector(name), draw_image(folder / 'an image.png')
    file = write(folder / f'{re.sub("[^a-z]", "", name.lower())}.html', one, images=[image], **arguments)
    opened = Opened(chromium, file)
    queries = opened.ask('() => explorer.sides()[0].run.queries')
    truth = arguments.get('ground_truth')
    given = None if truth is None else truth[str(image)].instances(one.classes, Path('x'))
    return Shown(opened, one, image, record(one.model, image, queries, ground_truth=given))


@pytest.fixture(scope='module')
def dab(chromium: Any, folder: Path) -> Shown:
    truth = {str(folder / 'an image.png'): objects('bar', 'square')}
    return shown(chromium, folder, 'DAB-DETR', ground_truth=truth, threshold=0.0)


@pytest.fixture
def page(dab: Shown) -> Iterator[Opened]:
    """That of DAB-DETR as it opens."""
    dab.opened.ask(
        """() => { Object.assign(explorer.state, {image: 0, layer: 0, head: -1, part: 'both', mode: 'query',
        truth: false, cell: null, own: null, object: null}); explorer.sides()[0].choose(0); }"""
    )
    yield dab.opened
    assert not dab.opened.said


@pytest.mark.parametrize('part', ['both', 'content', 'position'])
def test_weights_are_the_recorded_ones(dab: Shown, page: Opened, part: str):
    attentions = dab.recording.cross
    for layer in attentions:
        logits = {
            'both': attentions[layer].logits,
            'content': attentions[layer].content,
            'position': attentions[layer].position,
        }
        expected = logits[part].softmax(-1)
        for row, head in ((0, 0), (3, 5), (6, -1)):
            given = page.ask(WEIGHTS, dict(side=0, layer=layer, row=row, part=part, head=head))
            of_row = expected[:, row].mean(0) if head < 0 else expected[head, row]
            np.testing.assert_allclose(given, of_row, atol=2e-5 if part != 'position' else 1e-6)


def test_the_formula_in_the_browser_is_that_of_the_model(dab: Shown, page: Opened):
    """With the model's anchors, and with others, temperatures and modulation by Python's twin."""
    code = """({layer, row, anchor, options}) => {
        const side = explorer.sides()[0];
        return explorer.positionLogits(side.model, side.run, layer, row, anchor, options);
    }"""
    formula, recording = dab.recording.formula, dab.recording
    for layer, attention in recording.cross.items():
        for row in (0, 5):
            anchor = recording.anchors[layer, recording.queries[row]].tolist()
            options = dict(temperature=10000, cellTemperature=20, modulated=True)
            given = page.ask(code, dict(layer=layer, row=row, anchor=anchor, options=options))
            recorded = attention.position[:, row].flatten().numpy()
            np.testing.assert_allclose(given, recorded, atol=1e-5 * abs(recorded).max())
    options = dict(temperature=50, cellTemperature=7, modulated=False)
    given = page.ask(code, dict(layer=1, row=2, anchor=[0.2, 0.9, 0.3, 0.05], options=options))
    expected = formula.logits(1, 2, (0.2, 0.9, 0.3, 0.05), 50, 7, modulated=False).ravel()
    np.testing.assert_allclose(given, expected, atol=1e-6 * abs(expected).max())


def test_projections_in_three_bytes_give_the_same_map(chromium: Any, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """As of width 256 and 6 layers."""
    monkeypatch.setattr(page_data, 'WIDE', 0)
    one = shown(chromium, folder, 'Conditional DETR')
    for layer, attention in one.recording.cross.items():
        given = one.opened.ask(WEIGHTS, dict(side=0, layer=layer, row=2, part='position', head=3))
        np.testing.assert_allclose(given, attention.position[3, 2].softmax(-1), atol=1e-5)
    assert one.opened.ask('() => Object.values(explorer.page.models[0].formula.matrices)[0].key.type') == 'f3'
    assert not one.opened.said


def test_sliders_redraw_the_map_and_the_anchor(dab: Shown, page: Opened):
    before = page.page.screenshot()
    page.page.click('label:has(#part-position)')
    page.page.click('#forth')
    page.page.fill('#own-x', '0.25')
    page.page.fill('#own-h', '0.8')
    assert page.page.inner_text('#own-x-value') == '0.250'
    anchor = dab.recording.anchors[1, dab.recording.queries[0]].tolist()
    anchor[0], anchor[3] = 0.25, 0.8
    formula = dab.recording.formula
    expected = torch.from_numpy(formula.logits(1, 0, anchor)).flatten(1).softmax(-1).mean(0)
    np.testing.assert_allclose(page.ask(MAP, 0), expected, atol=1e-6)
    page.page.uncheck('#own-modulated')
    expected = torch.from_numpy(formula.logits(1, 0, anchor, modulated=False)).flatten(1).softmax(-1).mean(0)
    np.testing.assert_allclose(page.ask(MAP, 0), expected, atol=1e-6)
    page.page.fill('#own-cellTemperature', '0.5')
    temperature = 20000**0.5
    expected = torch.from_numpy(formula.logits(1, 0, anchor, None, temperature, False)).flatten(1).softmax(-1).mean(0)
    np.testing.assert_allclose(page.ask(MAP, 0), expected, atol=1e-6)
    assert page.page.screenshot() != before
    page.page.click('#reset')
    recorded = dab.recording.cross[1].position[:, 0].softmax(-1).mean(0)
    np.testing.assert_allclose(page.ask(MAP, 0), recorded, atol=1e-6)


def test_clicks_choose_layers_queries_and_heads(dab: Shown, page: Opened):
    assert page.page.inner_text('#layer') == 'layer 1 of 2'
    page.page.click('#forth')
    assert page.ask('() => explorer.state.layer') == 1
    assert page.page.is_disabled('#forth')
    page.page.click('.queries button >> nth=2')
    query = int(dab.recording.queries[2])
    assert f'query {query} ' in page.page.inner_text('#legend')
    rows = page.page.locator('tbody tr')
    cells = rows.nth(1).locator('td').all_inner_texts()
    np.testing.assert_allclose([float(cell) for cell in cells[1:5]], dab.recording.anchors[1, query], atol=6e-4)
    assert float(cells[5]) == pytest.approx(float(dab.recording.scores[1, query].max()), abs=6e-4)
    page.page.select_option('#head', index=4)
    recorded = dab.recording.cross[1].weights[3, 2]
    np.testing.assert_allclose(page.ask(MAP, 0), recorded, atol=2e-5)
    assert 'head 4' in page.page.inner_text('#legend')
    rows.nth(0).click()
    assert page.ask('() => explorer.state.layer') == 0


def test_a_click_on_the_image_chooses_the_smallest_box_there(dab: Shown, page: Opened):
    boxes = dab.recording.boxes[-1, dab.recording.queries]
    bounds = page.page.locator('canvas.image').bounding_box()
    x, y = boxes[1, :2].tolist()
    page.page.mouse.click(bounds['x'] + x * bounds['width'], bounds['y'] + y * bounds['height'])
    inside = ((torch.tensor([x, y]) - boxes[:, :2]).abs() <= boxes[:, 2:] / 2).all(1)
    area = boxes[:, 2] * boxes[:, 3]
    assert page.ask('() => explorer.sides()[0].row') == int(area.masked_fill(~inside, torch.inf).argmin())


def test_a_cell_shows_who_looks_there(dab: Shown, page: Opened):
    page.page.click('label:has(#mode-cell)')
    bounds = page.page.locator('canvas.image').bounding_box()
    page.page.mouse.click(bounds['x'] + 0.6 * bounds['width'], bounds['y'] + 0.3 * bounds['height'])
    cell = dab.recording.cell_at(0.6, 0.3)
    weights = dab.recording.cross[0].weights.mean(0)[:, cell]
    found = page.ask('() => explorer.sides()[0].looking()')
    np.testing.assert_allclose([one['weight'] for one in found], weights.sort(descending=True).values[:6], atol=2e-5)
    names = page.page.locator('.lookers button').all_inner_texts()
    assert names[0].startswith(f'{int(dab.recording.queries[weights.argmax()])} ')
    assert 'the chosen cell' in page.page.inner_text('#legend')
    assert page.page.is_visible('.keybox:has-text("cell")')
    assert '7 of 7 queries' in page.page.inner_text('h3:has-text("Who looks")')
    page.page.focus('.lookers button >> nth=1')
    page.page.keyboard.press('Enter')  # the list is made anew, and a keyboard stays where it was
    assert page.ask('() => document.activeElement.closest(".lookers") !== null')
    page.page.focus('canvas.image')
    page.page.keyboard.press('ArrowDown')
    assert page.ask('() => explorer.sides()[0].cell().row') == page.ask('() => Math.floor(0.3 * 4)') + 1


def test_who_gives_a_cell_next_to_nothing_does_not_look_there(dab: Shown, page: Opened):
    page.page.click('label:has(#mode-cell)')
    cells = 'explorer.sides()[0].run.levels[0]'
    page.ask(f"""() => {{
        const [rows, columns] = {cells};
        explorer.sides()[0].run.weights = new Map(explorer.sides()[0].run.queries.map((_, row) => [
            `0|${{row}}|both|-1`, new Float64Array(rows * columns).fill(row ? 0.09 / rows / columns : 0.5)]));
        explorer.sides()[0].at(0.5, 0.5); }}""")
    assert page.ask('() => explorer.sides()[0].looking().map(({row}) => row)') == [0]
    assert page.page.locator('.lookers button').count() == 1
    page.ask('() => { explorer.sides()[0].run.weights = undefined; }')


def test_the_chosen_query_is_in_sight_in_its_list(page: Opened):
    page.ask("() => { document.querySelector('.queries').style.maxHeight = '40px'; }")
    page.page.click('h1')
    for _ in range(6):
        page.page.keyboard.press('ArrowDown')
    inside = """() => {
        const [list, button] = ['.queries', '.queries [aria-pressed=true]'].map((one) =>
            document.querySelector(one).getBoundingClientRect());
        return button.top >= list.top - 1 && button.bottom <= list.bottom + 1; }"""
    assert page.ask(inside)
    page.ask("() => { document.querySelector('.queries').style.maxHeight = ''; }")


def test_a_temperature_is_read_out_as_it_is_shown(page: Opened):
    for place, value in ((1, '20000'), (0, '1.00'), (0.5, '141')):
        page.page.fill('#own-cellTemperature', str(place))
        assert page.page.inner_text('#own-cellTemperature-value') == value
        assert page.page.get_attribute('#own-cellTemperature', 'aria-valuetext') == value


def test_ground_truth_says_which_query_is_matched_layer_by_layer(dab: Shown, page: Opened):
    page.page.check('#truth')
    matched = dab.recording.matched
    page.page.click('[aria-label=Objects] button >> nth=1')
    text = page.page.inner_text('.matches')
    for layer in range(2):
        query = int((matched[layer] == 1).nonzero()[0])
        assert f'layer {layer + 1}: query {query}' in text
    query = page.ask('() => explorer.sides()[0].query')
    assert matched[0, query] == 1
    assert 'object 2 (square)' in page.page.inner_text('#legend')
    bounds = page.page.locator('canvas.image').bounding_box()
    page.page.mouse.click(bounds['x'] + 30 / 180 * bounds['width'], bounds['y'] + 50 / 120 * bounds['height'])
    assert matched[0, page.ask('() => explorer.sides()[0].query')] == 0


def test_keys_play_and_themes(page: Opened):
    page.page.click('h1')
    for key, code, value in (
        ('ArrowRight', 'state.layer', 1),
        ('h', 'state.head', 0),
        ('p', 'state.part', 'content'),
        ('g', 'state.truth', True),
        ('ArrowDown', 'sides()[0].row', 1),
        ('ArrowUp', 'sides()[0].row', 0),
        ('m', 'state.own.modulated', False),
        ('r', 'state.own', None),
        ('c', 'state.mode', 'cell'),
    ):
        page.page.keyboard.press(key)
        assert page.ask(f'() => explorer.{code}') == value, key
    theme = page.ask('() => document.documentElement.dataset.theme')
    page.page.keyboard.press('t')
    assert page.ask('() => document.documentElement.dataset.theme') != theme
    page.page.keyboard.press('?')
    assert page.page.is_visible('#keys')
    page.page.keyboard.press('?')
    page.page.keyboard.press('ArrowLeft')
    page.page.click('h1')
    page.page.keyboard.press(' ')
    assert page.ask('() => explorer.state.playing > 0')
    page.page.keyboard.press(' ')
    assert page.ask('() => explorer.state.playing') == 0
    page.page.click('#play')
    page.page.wait_for_function('() => explorer.state.layer === 1 && !explorer.state.playing', timeout=8000)


def test_every_control_has_a_name_and_shows_its_focus(page: Opened):
    page.page.check('#truth')
    page.page.click('label:has(#mode-cell)')
    nameless = """() => Array.from(document.querySelectorAll('button, select, input, canvas[tabindex], svg'))
        .filter((one) => !(one.getAttribute('aria-label') || one.labels?.[0]?.textContent.trim()
            || (one.matches('button') && one.textContent.trim())))
        .map((one) => one.outerHTML)"""
    assert page.ask(nameless) == []
    page.page.click('h1')
    seen = set()
    for _ in range(40):
        page.page.keyboard.press('Tab')
        here = page.ask("""() => {
            const one = document.activeElement;
            const shown = one.closest('fieldset label') ?? one;
            return [one.id || one.tagName, getComputedStyle(shown).outlineStyle]; }""")
        assert here[0] == 'BODY' or here[1] == 'solid', here
        seen.add(here[0])
    assert {'CANVAS', 'theme', 'help', 'forth', 'play', 'head', 'truth', 'opacity', 'own-x', 'own-modulated'} <= seen


def test_two_detectors_stand_side_by_side(chromium: Any, folder: Path):
    image = draw_image(folder / 'an image.png')
    pair = detector('Conditional DETR'), detector('DETR')
    opened = Opened(chromium, write(folder / 'two.html', *pair, images=[image], threshold=0.0))
    assert opened.page.locator('article.side').count() == 2
    opened.page.click('.queries button >> nth=1')
    for side, one in enumerate(pair):
        queries = opened.ask('(side) => explorer.sides()[side].run.queries', side)
        row = opened.ask('(side) => explorer.sides()[side].row', side)
        recorded = record(one.model, image, queries).cross[1].weights[:, row].mean(0)
        np.testing.assert_allclose(opened.ask(MAP, side), recorded, atol=2e-5)
    points, positions = opened.page.locator('.caption').all_inner_texts()
    assert 'the cross is its point' in points
    assert 'this detector has no anchors' in positions
    keys = opened.page.locator('.scale').all_inner_texts()
    assert 'point' in keys[0]
    assert 'anchor' not in keys[1]
    boxes = [opened.ask(f'() => explorer.sides()[{side}].run.queries') for side in (0, 1)]
    assert len(boxes[0]) == len(boxes[1]) == 7
    opened.page.click('canvas.image >> nth=1')
    assert opened.page.inner_text('#whynot').startswith('DETR: ')  # its attention does not split
    opened.page.click('canvas.image >> nth=0')
    assert opened.page.is_hidden('#own-w')  # points have no width
    assert opened.page.is_visible('#own-x')
    sliders = opened.page.locator('#whatif').bounding_box()
    assert sliders['y'] + sliders['height'] <= 900  # in sight below the images
    opened.page.fill('#own-x', '0.4')
    for side in (0, 1):  # DETR keeps what was recorded
        assert all(value is not None for value in opened.ask(MAP, side))
    assert not opened.said


def test_detectors_of_other_numbers_of_heads_and_layers(chromium: Any, folder: Path):
    """A head that one of them has not is shown as the mean of its own."""
    image = draw_image(folder / 'an image.png')
    pair = detector('DAB-DETR'), detector('DAB-DETR', num_heads=4)
    opened = Opened(chromium, write(folder / 'heads.html', *pair, images=[image], threshold=0.0))
    opened.page.select_option('#head', index=8)
    opened.page.click('label:has(#mode-cell)')
    row, queries = opened.ask('() => [explorer.sides()[1].row, explorer.sides()[1].run.queries]')
    expected = record(pair[1].model, image, queries).cross[1].weights[:, row].mean(0)
    np.testing.assert_allclose(opened.ask(MAP, 1), expected, atol=2e-5)
    assert 'its head 8' in opened.page.inner_text('.caption >> nth=0')
    assert 'the mean of its 4 heads' in opened.page.inner_text('.caption >> nth=1')
    assert not opened.said


def test_points_beside_maps(chromium: Any, folder: Path):
    """Deformable attention beside DAB-DETR: sliders of the second, cells of both."""
    image = draw_image(folder / 'an image.png')
    pair = detector('DAB-Deformable'), detector('DAB-DETR')
    opened = Opened(chromium, write(folder / 'points.html', *pair, images=[image], threshold=0.0))
    assert opened.page.is_hidden('#levels')
    assert opened.page.is_visible('#whynot')
    opened.page.click('canvas.image >> nth=1')
    assert opened.page.is_hidden('#whynot')
    opened.page.click('label:has(#part-position)')
    opened.page.fill('#own-w', '0.3')
    row, queries = opened.ask('() => [explorer.sides()[1].row, explorer.sides()[1].run.queries]')
    recording = record(pair[1].model, image, queries)
    x, y, _, h = recording.anchors[1, queries[row]].tolist()
    expected = torch.from_numpy(recording.formula.logits(1, row, (x, y, 0.3, h))).flatten(1).softmax(-1).mean(0)
    np.testing.assert_allclose(opened.ask(MAP, 1), expected, atol=1e-6)
    opened.page.click('label:has(#mode-cell)')
    assert 'samples' in opened.page.inner_text('.caption >> nth=0')
    opened.page.click('#play')
    opened.page.wait_for_function('() => !explorer.state.playing', timeout=8000)
    assert not opened.said


def test_a_match_that_is_not_on_the_page_is_said(chromium: Any, folder: Path):
    image = draw_image(folder / 'an image.png')
    one = detector('DAB-DETR')
    truth = {str(image): objects('bar')}
    every = record(one.model, image, ground_truth=truth[str(image)].instances(one.classes, Path('x')))
    others = [query for query in range(7) if not (every.matched[:, query] >= 0).any()]
    file = write(folder / 'lacking.html', one, images=[image], ground_truth=truth, queries=others)
    opened = Opened(chromium, file)
    opened.page.check('#truth')
    opened.page.click('[aria-label=Objects] button')
    assert opened.page.inner_text('.matches').count('(not on this page)') == 2
    assert not opened.said


@pytest.mark.parametrize('width', [1280, 900, 390])
def test_nothing_is_wider_than_its_card(chromium: Any, folder: Path, width: int):
    image = draw_image(folder / 'an image.png')
    pair = detector('DAB-DETR', ('a very long name of a class of objects',) * 3), detector('DETR')
    truth = {str(image): objects(pair[0].classes[0], pair[0].classes[0])}
    for number in (1, 2):
        given = truth if number == 1 else None
        file = write(folder / f'narrow{number}.html', *pair[:number], images=[image], ground_truth=given, threshold=0.0)
        opened = Opened(chromium, file)
        opened.page.set_viewport_size(dict(width=width, height=800))
        opened.page.click('#help')
        opened.page.click('label:has(#mode-cell)')
        opened.page.click('canvas.image >> nth=0')
        over = """() => Array.from(document.querySelectorAll('.side *, #controls *, #keys *, header *'))
            .filter((one) => one.getClientRects().length && getComputedStyle(one).position !== 'absolute')
            .filter((one) => !one.closest('svg'))
            .filter((one) => one.getBoundingClientRect().right
                > one.closest('.side, #controls, #keys, header').getBoundingClientRect().right + 0.5)
            .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`)"""
        assert opened.ask(over) == []
        assert opened.ask('() => document.documentElement.scrollWidth <= innerWidth')


def test_a_tall_image_and_its_sliders_are_seen_at_once(chromium: Any, folder: Path):
    image = folder / 'tall.png'
    assert cv2.imwrite(str(image), np.zeros((400, 100, 3), np.uint8))
    opened = Opened(chromium, write(folder / 'tall.html', detector('DAB-DETR'), images=[image]))
    opened.page.set_viewport_size(dict(width=1280, height=800))
    canvas, sliders = (opened.page.locator(one).bounding_box() for one in ('canvas.image', '#sliders'))
    assert canvas['height'] == pytest.approx(4 * canvas['width'], rel=0.02)
    assert sliders['y'] + sliders['height'] - canvas['y'] <= 800


def test_the_anchor_of_points_is_completed_for_boxes_beside_them(chromium: Any, folder: Path):
    """And each detector keeps its own temperatures, until their slider is moved."""
    image = draw_image(folder / 'an image.png')
    pair = detector('Conditional DETR'), detector('DAB-DETR')
    opened = Opened(chromium, write(folder / 'pair.html', *pair, images=[image], threshold=0.0))
    opened.page.click('label:has(#part-position)')
    opened.page.fill('#own-x', '0.4')
    row, queries = opened.ask('() => [explorer.sides()[1].row, explorer.sides()[1].run.queries]')
    recording = record(pair[1].model, image, queries)
    anchor = [0.4, None, *recording.anchors[1, queries[row], 2:].tolist()]
    anchor[1] = opened.ask('() => explorer.state.own.anchor[1]')
    expected = torch.from_numpy(recording.formula.logits(1, row, anchor)).flatten(1).softmax(-1).mean(0)
    np.testing.assert_allclose(opened.ask(MAP, 1), expected, atol=1e-6)


def test_an_attention_that_cannot_be_read_leaves_boxes_and_says_so(chromium: Any, folder: Path):
    class Foreign(nn.Module):
        """The same attention in a class that nobody knows; a list hides what is in it."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.hidden = [inner]

        def forward(self, *inputs: Any) -> torch.Tensor:
            return self.hidden[0](*inputs)

    one, image = detector('DAB-DETR'), draw_image(folder / 'an image.png')
    for layer in one.model.decoder.layers:
        layer.cross_attention = Foreign(layer.cross_attention)
    recording = record(one.model, image)
    assert not recording.cross
    assert recording.self_attention.keys() == {0, 1}
    opened = Opened(chromium, write(folder / 'foreign.html', one, images=[image]))
    assert 'cannot be recorded' in opened.page.inner_text('#whynot')
    assert 'cannot be recorded' in opened.page.inner_text('#legend')
    opened.page.click('label:has(#mode-cell)')
    opened.page.click('canvas.image')
    opened.page.click('#back')
    assert not opened.said


def test_attention_inside_anchors_is_masked_in_the_browser(chromium: Any, folder: Path):
    for name in ('anchor-masked', 'anchor-masked, fading'):
        one = shown(chromium, folder, name)
        for row in (0, 4):
            given = one.opened.ask(WEIGHTS, dict(side=0, layer=1, row=row, part='both', head=2))
            np.testing.assert_allclose(given, one.recording.cross[1].weights[2, row], atol=2e-5)
    assert not one.opened.said


def test_points_of_deformable_attention(chromium: Any, folder: Path):
    one = shown(chromium, folder, 'DAB-Deformable')
    found = one.opened.ask('() => explorer.pointsOf(explorer.sides()[0], 1, 2, 3)')
    attention = one.recording.cross[1]
    np.testing.assert_allclose([point['weight'] for point in found], attention.weights[2, 3].flatten(), atol=1e-6)
    np.testing.assert_allclose(
        [(point['x'], point['y']) for point in found], attention.points[2, 3].flatten(0, 1), atol=1e-6
    )
    assert one.opened.page.is_visible('#whynot')
    assert one.opened.page.is_disabled('#part-content')
    one.opened.page.click('label:has(#mode-cell)')
    assert one.opened.page.is_visible('.lookers')
    assert not one.opened.said


def test_names_full_of_markup_are_text(chromium: Any, folder: Path):
    image = draw_image(folder / '<img src=x onerror=hacked=1>.png')
    one = detector('DAB-DETR', (MARKUP, '<b>bar</b>', '\'"`${hacked=1}'))
    named = Detector(one.model, f'{MARKUP} detector')
    truth = {str(image): objects(MARKUP)}
    file = write(folder / 'markup.html', named, images=[image, image], ground_truth=truth, threshold=0.9)
    text = file.read_text(encoding='utf-8')
    assert text.count('</script>') == 2
    assert '\u2028' not in text
    opened = Opened(chromium, file)
    opened.page.check('#truth')
    opened.page.click('[aria-label=Objects] button')
    assert opened.page.locator('img').count() == 2  # the thumbnails
    assert opened.page.locator('b', has_text='bar').count() == 0
    assert opened.page.inner_text('#images button >> nth=0') == image.name
    assert MARKUP.rstrip('\u2028') in opened.page.inner_text('.side > h2')
    opened.page.keyboard.press('i')
    assert opened.ask('() => explorer.state.image') == 1
    assert opened.page.get_attribute('#images button >> nth=1', 'aria-pressed') == 'true'
    assert opened.ask('() => window.hacked') is None
    assert opened.page.is_visible('.note')  # nothing scores 0.9
    assert all(url.startswith(('file:', 'data:', 'blob:')) for url in opened.asked)
    assert not opened.said
    # Nor would a script run that came in another way.
    opened.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hacked=1'}))")
    assert opened.ask('() => window.hacked') is None


def test_names_do_not_turn_the_text_after_them(chromium: Any, folder: Path):
    """And one with a zero byte, half a letter, or a line end is shown."""
    image = draw_image(folder / 'a\u202eb.png')
    names = ('\u202eright\u2067', 'zero\0byte', 'half \ud83d and \U0001f4a1' * 4)
    one = detector('DAB-DETR', names)
    truth = {str(image): objects(*names)}
    opened = Opened(chromium, write(folder / 'turned.html', one, images=[image], ground_truth=truth, threshold=0.0))
    opened.page.check('#truth')
    text = opened.page.inner_text('body') + opened.page.inner_text('#legend')
    assert not re.search('[\u202a-\u202e\u2066-\u2069]', text)
    assert '\ufffdright\ufffd' in text
    assert not opened.said


def test_an_image_is_shown_as_the_detector_is_given_it(folder: Path):
    """16 bits are 8 to it; PIL alone would show them white."""
    file = folder / 'sixteen bits.png'
    grey = np.tile(np.linspace(0, 65535, 96).astype(np.uint16), (64, 1))
    assert cv2.imwrite(str(file), grey)
    address = data_of(explore([detector('DAB-DETR')], [file]).text)['images'][0]['jpeg']
    shown_pixels = cv2.imdecode(np.frombuffer(base64.b64decode(address.partition(',')[2]), np.uint8), 1)
    np.testing.assert_allclose(shown_pixels, cv2.imread(str(file)), atol=6)


def test_images_of_one_name_are_told_apart(folder: Path):
    for name in ('left', 'right'):
        (folder / name).mkdir()
    images = [draw_image(folder / name / 'a.png') for name in ('left', 'right')]
    text = explore([detector('DAB-DETR')], images).text
    assert [image['name'] for image in data_of(text)['images']] == ['left/a.png', 'right/a.png']


def data_of(text: str) -> Any:
    return json.loads(re.search('id="data">(.*?)</script>', text).group(1))


def test_a_query_out_of_range_names_its_detector(folder: Path):
    image = draw_image(folder / 'an image.png')
    with pytest.raises(UserError, match='DAB-DETR, 2 patterns: query 15: the model has 14'):
        explore([detector('DAB-DETR'), detector('DAB-DETR, 2 patterns')][::-1], [image], queries=[15])


def test_a_file_name_that_is_no_text(folder: Path):
    image = folder / os.fsdecode(b'caf\xe9.png')
    draw_image(folder / 'an image.png').rename(image)
    assert 'caf?.png' in explore([detector('DAB-DETR')], [image]).text


def test_what_does_not_fit_the_budget_is_left_out_and_said(folder: Path):
    image = draw_image(folder / 'an image.png')
    one = detector('DAB-DETR')
    whole = explore([one], [image])
    assert not whole.messages
    small = explore([one], [image], budget=len(whole.text) - 200)
    assert len(small.text) <= len(whole.text) - 200
    (message,) = small.messages
    kept = json.loads(re.search('id="data">(.*?)</script>', small.text).group(1))['runs'][0][0]['queries']
    assert f'{len(kept)} quer' in message
    assert 0 < len(kept) < 7
    with pytest.raises(UserError, match='MB'):
        explore([one], [image], budget=1000)


def test_an_image_too_large_is_made_smaller_and_said(folder: Path):
    image = folder / 'large.png'
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (900, 1500, 3), np.uint8))
    one = detector('DAB-DETR')
    page = explore([one], [image], budget=700_000)
    assert len(page.text) <= 700_000
    assert any('1500' in message for message in page.messages)


def test_queries_by_number_and_out_of_range(folder: Path):
    image = draw_image(folder / 'an image.png')
    one = detector('DAB-DETR')
    data = json.loads(re.search('id="data">(.*?)</script>', explore([one], [image], queries=[5, 2]).text).group(1))
    assert data['runs'][0][0]['queries'] == [5, 2]
    with pytest.raises(UserError, match='query 300'):
        explore([one], [image], queries=[300])


def test_ground_truth_of_another_dataset_is_refused(folder: Path):
    image = draw_image(folder / 'an image.png')
    with pytest.raises(DataError, match=r"notes\.json.*'zebra'"):
        explore([detector('DAB-DETR')], [image], {str(image): objects('zebra', CLASSES[0])}, source=Path('notes.json'))
