// Attention weights of a recorded query: by content, by position, or by both.

const PARTS = { both: 'both', content: 'content', position: 'position' };

// What is asked of a side beyond the recording: an anchor of your own, other temperatures.
function anchorOf(run, layer, query) {
  return numbers(run.anchors).subarray((layer * run.total + query) * 4, (layer * run.total + query + 1) * 4);
}

function boxOf(run, layer, query) {
  return numbers(run.boxes).subarray((layer * run.total + query) * 4, (layer * run.total + query + 1) * 4);
}

// Logits (H, S), flat, of one part; `own` is what the sliders say, or null.
function logitsOf(side, layer, row, part, own) {
  const { model, run } = side;
  const attention = run.attention[layer];
  const heads = model.heads;
  const stored = (ref) => {
    const size = ref.steps.shape.at(-1);
    const logits = new Float64Array(heads * size);
    for (let h = 0; h < heads; h++) logits.set(rounded(ref, row * heads + h), h * size);
    return logits;
  };
  if (attention.logits) return stored(attention.logits);
  const position = () => {
    if (!run.formula) return stored(attention.position);
    const query = run.queries[row];
    const anchor = Array.from(own ? own.anchor : anchorOf(run, layer, query));
    const options = own ?? {
      temperature: model.formula.temperature,
      cellTemperature: model.formula.cellTemperature,
      modulated: true,
    };
    return positionLogits(model, run, layer, row, anchor, options);
  };
  if (part === PARTS.position) return position();
  const content = stored(attention.content);
  if (part === PARTS.content) return content;
  const other = position();
  return content.map((value, i) => value + other[i]);
}

// Weights (S,) of one head, or of their mean (head −1); rows of a head sum to 1.
function weightsOf(side, layer, row, part, head, own = null) {
  const { model, run } = side;
  const name = own ? null : `${layer}|${row}|${part}|${head}`;
  run.weights ??= new Map();
  if (name && run.weights.has(name)) return run.weights.get(name);
  const logits = logitsOf(side, layer, row, part, own);
  const cells = logits.length / model.heads;
  const mask = model.masks?.[layer];
  const added = mask ? anchorMask(mask, run, own?.anchor ?? anchorOf(run, layer, run.queries[row])) : null;
  const result = new Float64Array(cells);
  const chosen = head < 0 ? Array.from({ length: model.heads }, (_, h) => h) : [head];
  for (const h of chosen) {
    const from = h * cells;
    let most = -Infinity;
    for (let s = 0; s < cells; s++) most = Math.max(most, logits[from + s] + (added ? added[s] : 0));
    let sum = 0;
    const powers = new Float64Array(cells);
    for (let s = 0; s < cells; s++) {
      powers[s] = Math.exp(logits[from + s] + (added ? added[s] : 0) - most);
      sum += powers[s];
    }
    for (let s = 0; s < cells; s++) result[s] += powers[s] / sum / chosen.length;
  }
  if (name) {
    if (run.weights.size > 600) run.weights.clear();
    run.weights.set(name, result);
  }
  return result;
}

// Sampling points of deformable attention: [{x, y, weight, level, head}], weights of the heads shown sum to 1.
function pointsOf(side, layer, row, head) {
  const { model, run } = side;
  const { points, weights } = run.attention[layer];
  const [, heads, levels, each] = points.shape;
  const place = numbers(points);
  const weight = numbers(weights);
  const result = [];
  for (let h = 0; h < heads; h++) {
    if (head >= 0 && h !== head) continue;
    for (let v = 0; v < levels; v++) {
      for (let p = 0; p < each; p++) {
        const at = ((row * heads + h) * levels + v) * each + p;
        const share = weight[at] / (head < 0 ? heads : 1);
        result.push({ x: place[2 * at], y: place[2 * at + 1], weight: share, level: v, head: h });
      }
    }
  }
  return result;
}

// The level whose cells can be chosen, and what a query gives to one of them.
function cellLevel(side) {
  const { run } = side;
  if (!side.attention?.points) return state.level < run.levels.length ? state.level : 0;
  const far = run.levels.map(([rows, columns]) => Math.abs(rows * columns - 400));
  return far.indexOf(Math.min(...far));
}

function levelStart(run, level) {
  return run.levels.slice(0, level).reduce((sum, [rows, columns]) => sum + rows * columns, 0);
}

function weightAt(side, layer, row, cell, own) {
  const { run } = side;
  const level = cellLevel(side);
  const [rows, columns] = run.levels[level];
  if (run.attention[layer].points) {
    const inside = ({ x, y }) => Math.floor(x * columns) === cell.column && Math.floor(y * rows) === cell.row;
    return pointsOf(side, layer, row, side.head).filter(inside).reduce((sum, point) => sum + point.weight, 0);
  }
  const at = levelStart(run, level) + cell.row * columns + cell.column;
  return weightsOf(side, layer, row, side.part, side.head, own)[at];
}
