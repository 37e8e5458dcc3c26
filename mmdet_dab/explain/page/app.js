// The controls, the keys and the start.

const $ = (id) => document.getElementById(id);
let sides = [];
let pictures = [];

const mostLayers = () => Math.max(...page.models.map((model) => model.layers));

function go(layer) {
  state.layer = Math.min(Math.max(layer, 0), mostLayers() - 1);
  state.own = null;
  update();
}

function chosenSide() { return sides[state.active]; }

// --- The anchor of your own

const SLIDERS = [
  { key: 'x', text: 'x (centre)', axis: 0 }, { key: 'y', text: 'y (centre)', axis: 1 },
  { key: 'w', text: 'w (width)', axis: 2 }, { key: 'h', text: 'h (height)', axis: 3 },
  { key: 'cellTemperature', text: 'temperature', logarithmic: true },
  { key: 'temperature', text: 'of anchors', logarithmic: true },
];
const LOWEST = 1;
const HIGHEST = 20000;

function buildSliders() {
  const parts = SLIDERS.map((slider) => {
    const input = element('input', { type: 'range', id: `own-${slider.key}`, min: slider.logarithmic ? 0 : slider.axis > 1 ? 0.01 : 0, max: 1, step: 0.001 });
    input.addEventListener('input', () => {
      const own = { ...state.own };
      const value = Number(input.value);
      if (slider.logarithmic) {
        own[slider.key] = LOWEST * (HIGHEST / LOWEST) ** value;
        if (!apart(chosenSide())) own.temperature = own.cellTemperature; // one slider is for both
      } else {
        own.anchor = chosenSide().asked().anchor.filter((number) => !Number.isNaN(number));
        own.anchor[slider.axis] = value;
      }
      setOwn(own);
    });
    const output = element('output', { id: `own-${slider.key}-value` });
    return element('label', { id: `own-${slider.key}-label` }, element('span', { textContent: slider.text }), input, output);
  });
  const modulated = element('input', { type: 'checkbox', id: 'own-modulated' });
  modulated.addEventListener('change', () => setOwn({ ...state.own, modulated: modulated.checked }));
  parts.push(element('label', { className: 'check', id: 'own-modulated-label' }, modulated, ' w and h modulate (equation 6)'));
  $('sliders').replaceChildren(...parts);
}

function setOwn(own) {
  stop();
  state.own = own;
  update();
}

// Whether a detector has a temperature for cells and another for anchors.
const apart = ({ model }) => model.formula.temperature !== model.formula.cellTemperature;

function updateSliders() {
  const side = chosenSide();
  const can = Boolean(side.run.formula?.[side.layer]);
  $('sliders').hidden = !can;
  $('reset').hidden = !can;
  $('reset').disabled = !state.own;
  $('whynot').hidden = can;
  const whose = sides.length > 1 ? `${side.model.name}: ` : '';
  $('whynot').textContent = can ? '' : whose + side.model.why;
  if (!can) return;
  const own = side.asked();
  for (const slider of SLIDERS) {
    const value = slider.logarithmic ? own[slider.key] : own.anchor[slider.axis];
    const shown = slider.key === 'temperature' ? apart(side) : !Number.isNaN(value);
    $(`own-${slider.key}-label`).hidden = !shown;
    if (!shown) continue;
    $(`own-${slider.key}`).value = slider.logarithmic ? Math.log(value / LOWEST) / Math.log(HIGHEST / LOWEST) : value;
    const text = !slider.logarithmic ? value.toFixed(3) : value < 100 ? value.toPrecision(3) : value.toFixed(0);
    $(`own-${slider.key}-value`).textContent = text;
    $(`own-${slider.key}`).setAttribute('aria-valuetext', text); // its own value is a logarithm
  }
  $('own-cellTemperature-label').firstChild.textContent = apart(side) ? 'T of cells' : 'temperature';
  $('own-temperature-label').firstChild.textContent = 'T of anchors';
  $('own-modulated-label').hidden = !side.run.formula[side.layer].size;
  $('own-modulated').checked = own.modulated;
}

// --- Controls

function choices(id, name, entries, choose) {
  const labels = entries.map(([value, text]) => {
    const input = element('input', { type: 'radio', name, value, id: `${id}-${value}` });
    input.addEventListener('change', () => { choose(value); update(); });
    return element('label', {}, input, text);
  });
  $(id).append(...labels);
}

function play() {
  if (state.playing) { stop(); update(); return; }
  if (state.layer >= mostLayers() - 1) go(0);
  state.own = null;
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  state.moving = !still;
  let start = performance.now();
  const step = (now) => {
    const moment = Math.min((now - start) / 900, 1);
    if (!still) for (const side of sides) side.draw(moment * moment * (3 - 2 * moment));
    if (now - start > 1300) {
      if (state.layer >= mostLayers() - 1) { stop(); update(); return; }
      start = now;
      const playing = state.playing;
      go(state.layer + 1);
      state.playing = playing;
    }
    state.playing = requestAnimationFrame(step);
  };
  state.playing = requestAnimationFrame(step);
  update();
}

function stop() {
  cancelAnimationFrame(state.playing);
  state.moving = false;
  state.playing = 0;
}

function nextQuery(step) {
  const side = chosenSide();
  const count = side.run.queries.length;
  side.choose((side.row + step + count) % count);
}

function moveCell(right, down) {
  const side = chosenSide();
  const [rows, columns] = side.run.levels[cellLevel(side)];
  const cell = side.cell() ?? { row: Math.floor(rows / 2), column: Math.floor(columns / 2) };
  const column = Math.min(Math.max(cell.column + right, 0), columns - 1);
  const row = Math.min(Math.max(cell.row + down, 0), rows - 1);
  state.cell = { x: (column + 0.5) / columns, y: (row + 0.5) / rows };
  update();
}

const arrows = (right, down) => () => {
  if (state.mode === 'cell' && document.activeElement?.tagName === 'CANVAS') moveCell(right, down);
  else if (right) { stop(); go(state.layer + right); }
  else nextQuery(down);
};
const heads = () => Math.max(...page.models.map((model) => model.heads));
const KEYS = [
  ['←', 'ArrowLeft', 'layer before', arrows(-1, 0)], ['→', 'ArrowRight', 'layer after', arrows(1, 0)],
  ['↑', 'ArrowUp', 'query before (on the image, with a cell chosen: arrows move the cell)', arrows(0, -1)],
  ['↓', 'ArrowDown', 'next query', arrows(0, 1)],
  ['space', ' ', 'play the layers', play],
  ['H', 'h', 'next head', () => { state.head = ((state.head + 2) % (heads() + 1)) - 1; }],
  ['P', 'p', 'both, content, position', () => {
    const order = Object.keys(PARTS);
    if (anySplit()) state.part = order[(order.indexOf(state.part) + 1) % 3];
  }],
  ['G', 'g', 'ground truth', () => { if (page.images[state.image].objects) state.truth = !state.truth; }],
  ['C', 'c', 'a click chooses a query or a cell', () => {
    state.mode = state.mode === 'cell' ? 'query' : 'cell';
    if (state.mode === 'cell' && !state.cell) moveCell(0, 0);
  }],
  ['M', 'm', 'w and h modulate or not', () => {
    const side = chosenSide();
    if (side.run.formula?.[side.layer]?.size) {
      setOwn({ ...state.own, modulated: !side.asked().modulated });
    }
  }],
  ['R', 'r', "the detector's own anchor", () => setOwn(null)],
  ['I', 'i', 'next image', () => { stop(); show((state.image + 1) % page.images.length); }],
  ['T', 't', 'light or dark', () => toggleTheme()],
  ['?', '?', 'this list', () => toggleHelp()],
];

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
}

function toggleHelp() {
  $('keys').hidden = !$('keys').hidden;
  $('help').setAttribute('aria-expanded', String(!$('keys').hidden));
}

const anySplit = () => page.models.some((model) => model.kind === 'split');

function show(image) {
  state.image = image;
  state.cell = null;
  state.object = null;
  state.own = null;
  if (!page.images[image].objects) state.truth = false;
  if (sides.length > 1) sides[1].follow(sides[0]);
  update();
}

function update() {
  for (const side of sides) side.update();
  $('legend').textContent = chosenSide().sentence();
  $('legend').classList.toggle('unseen', sides.length > 1); // each side has its own then
  $('layer').textContent = `layer ${state.layer + 1} of ${mostLayers()}`;
  $('back').disabled = state.layer === 0;
  $('forth').disabled = state.layer === mostLayers() - 1;
  $('play').textContent = state.playing ? '❚❚ stop' : '▶ play';
  $('head').value = String(state.head);
  $(`part-${state.part}`).checked = true;
  $(`mode-${state.mode}`).checked = true;
  $('truth').checked = state.truth;
  $('truth').disabled = !page.images[state.image].objects;
  $('truth').parentElement.title = $('truth').disabled ? 'no ground truth was given for this image' : 'G';
  [...$('images').children].forEach((button, i) => button.setAttribute('aria-pressed', i === state.image));
  updateSliders();
}

function build() {
  document.documentElement.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  sides = page.models.map((model, index) => new Side(model, index));
  $('sides').replaceChildren(...sides.map((side) => side.root));
  $('sides').classList.toggle('two', sides.length > 1);
  if (sides.length === 1) sides[0].canvas.parentElement.append($('whatif'));
  $('images').append(...page.images.map((image, i) => {
    const button = element('button', { title: image.name },
      element('img', { src: image.jpeg, alt: '' }), element('span', { textContent: image.name }));
    button.addEventListener('click', () => { stop(); show(i); });
    return button;
  }));
  $('images').hidden = page.images.length < 2;
  $('head').append(element('option', { value: '-1', textContent: 'mean' }),
    ...Array.from({ length: heads() }, (_, h) => element('option', { value: String(h), textContent: String(h + 1) })));
  $('head').addEventListener('change', () => { state.head = Number($('head').value); update(); });
  choices('part', 'part', [['both', 'both'], ['content', 'content'], ['position', 'position']], (value) => { state.part = value; });
  if (!anySplit()) {
    for (const part of ['content', 'position']) {
      $(`part-${part}`).disabled = true;
      $(`part-${part}`).parentElement.classList.add('off');
    }
    $('part').title = page.models[0].why;
  }
  choices('mode', 'mode', [['query', 'a query'], ['cell', 'a cell: who looks here']], (value) => {
    state.mode = value;
    if (value === 'cell' && !state.cell) moveCell(0, 0);
  });
  // Points are drawn on all levels at once.
  const mapped = page.runs.filter((_, i) => ['split', 'plain'].includes(page.models[i].kind)).flat();
  const levels = Math.max(1, ...mapped.map((run) => run.levels.length));
  $('levels').hidden = levels === 1;
  $('level').append(...Array.from({ length: levels }, (_, v) => element('option', { value: String(v), textContent: String(v + 1) })));
  $('level').addEventListener('change', () => { state.level = Number($('level').value); update(); });
  $('truth').addEventListener('change', () => { state.truth = $('truth').checked; update(); });
  $('opacity').addEventListener('input', () => { state.opacity = Number($('opacity').value); update(); });
  $('back').addEventListener('click', () => { stop(); go(state.layer - 1); });
  $('forth').addEventListener('click', () => { stop(); go(state.layer + 1); });
  $('play').addEventListener('click', play);
  $('reset').addEventListener('click', () => setOwn(null));
  $('theme').addEventListener('click', toggleTheme);
  $('help').addEventListener('click', toggleHelp);
  $('keys').append(...KEYS.map(([sign, , text]) => element('div', {}, element('dt', { textContent: sign }), element('dd', { textContent: text }))));
  buildSliders();
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.matches?.('input[type=range], input[type=radio], select');
    if (field && (event.key.startsWith('Arrow') || event.key === ' ')) return;
    if (event.key === ' ' && event.target.matches?.('button, input')) return;
    const found = KEYS.find(([, key]) => key === event.key.toLowerCase() || key === event.key);
    if (!found) return;
    event.preventDefault();
    found[3]();
    update();
  });
  $('about').textContent = page.about;
}

async function start() {
  await unpack();
  pictures = await Promise.all(page.images.map(async ({ jpeg }) => {
    const picture = new Image();
    picture.src = jpeg;
    await picture.decode();
    return picture;
  }));
  state.layer = mostLayers() - 1;
  build();
  if (sides.length > 1) sides[1].follow(sides[0]);
  update();
  document.documentElement.dataset.ready = 'true';
}

window.explorer = { state, page, numbers, weightsOf, logitsOf, positionLogits, pointsOf, sides: () => sides };
start().catch((error) => {
  $('legend').textContent = `This page cannot be shown by this browser: ${error.message}`;
});
