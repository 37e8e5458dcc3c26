// What is shown, and what is drawn with.

const state = {
  image: 0, layer: 0, head: -1, part: PARTS.both, mode: 'query', truth: false, opacity: 0.7, level: 0,
  cell: null, object: null, own: null, playing: 0, moving: false, active: 0,
};
// Okabe and Ito's colours.
const COLOURS = { query: '#e69f00', anchor: '#cc79a7', truth: '#009e73', other: '#56b4e9', cell: '#d55e00' };
const LINES = ['var(--mark)', '#d55e00', '#009e73'];
const DASHES = ['', '6 3', '2 3'];

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith('aria-') || key === 'role') made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

function drawing(name, attributes = {}, text = null) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// New entries for a list; that of the same place keeps the focus.
function refill(list, entries) {
  const place = [...list.children].findIndex((entry) => entry.contains(document.activeElement));
  list.replaceChildren(...entries);
  const entry = entries[Math.min(place, entries.length - 1)];
  if (entry) (entry.matches('button') ? entry : entry.querySelector('button')).focus();
}

// By characters: a half of a surrogate pair is none.
const shortened = (text, most = 28) => (text.length > most ? `${Array.from(text).slice(0, most - 1).join('')}…` : text);
const fixed = (value, digits = 2) => (Number.isNaN(value) ? '–' : value.toFixed(digits));

function iou(one, other) {
  const sides = [0, 1].map((axis) => {
    const low = Math.max(one[axis] - one[axis + 2] / 2, other[axis] - other[axis + 2] / 2);
    const high = Math.min(one[axis] + one[axis + 2] / 2, other[axis] + other[axis + 2] / 2);
    return Math.max(high - low, 0);
  });
  const inside = sides[0] * sides[1];
  return inside / (one[2] * one[3] + other[2] * other[3] - inside || 1);
}
