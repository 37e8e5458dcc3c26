// The position part of conditional attention, as the detector computes it (the paper's eq. 4 and 6).
// Its twin in Python is PositionalFormula.logits in formula.py.

function sineCode(angle, feats, temperature) {
  const code = new Float64Array(feats);
  for (let i = 0; i < feats; i++) {
    const place = angle / temperature ** ((2 * Math.floor(i / 2)) / feats);
    code[i] = i % 2 ? Math.cos(place) : Math.sin(place);
  }
  return code;
}

// matrix (rows, columns) times code, which stands for the columns from `from` on.
function times(matrix, width, code, from, result) {
  for (let d = 0; d < result.length; d++) {
    let sum = 0;
    for (let j = 0; j < code.length; j++) sum += matrix[d * width + from + j] * code[j];
    result[d] += sum;
  }
  return result;
}

// Projected codes of all cells, (rows · columns, D): a row and a column add up.
function keysOf(model, run, layer, cellTemperature) {
  const name = `${layer}|${cellTemperature}`;
  run.keys ??= new Map();
  if (!run.keys.has(name)) {
    const { scale, offset, eps, width, matrices } = model.formula;
    const matrix = numbers(matrices[layer].key);
    const half = width / 2;
    const [rows, columns] = run.levels[0];
    const axis = (cells, from) =>
      Array.from({ length: cells }, (_, i) =>
        times(
          matrix,
          width,
          sineCode(((i + 1 - offset) / (cells + eps)) * scale, half, cellTemperature),
          from,
          new Float64Array(width),
        ),
      );
    const alongY = axis(rows, 0);
    const alongX = axis(columns, half);
    const bias = numbers(matrices[layer].keyBias);
    const keys = new Float64Array(rows * columns * width);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const at = (y * columns + x) * width;
        for (let d = 0; d < width; d++) keys[at + d] = alongY[y][d] + alongX[x][d] + bias[d];
      }
    }
    if (run.keys.size > 24) run.keys.clear();
    run.keys.set(name, keys);
  }
  return run.keys.get(name);
}

// Position logits (H, rows · columns), flat, of a recorded query with an anchor cx cy (w h) in 0..1.
function positionLogits(model, run, layer, row, anchor, options) {
  const { scale, width, matrices } = model.formula;
  const half = width / 2;
  const part = run.formula[layer];
  const factors = numbers(part.factors).subarray(row * width, (row + 1) * width);
  const code = new Float64Array(width);
  code.set(sineCode(anchor[1] * scale, half, options.temperature));
  code.set(sineCode(anchor[0] * scale, half, options.temperature), half);
  const size = options.modulated && part.size ? numbers(part.size).subarray(2 * row, 2 * row + 2) : null;
  for (let j = 0; j < width; j++) {
    code[j] *= factors[j];
    if (size) code[j] *= j < half ? size[1] / anchor[3] : size[0] / anchor[2];
  }
  const query = times(numbers(matrices[layer].query), width, code, 0, Float64Array.from(numbers(matrices[layer].queryBias)));
  const keys = keysOf(model, run, layer, options.cellTemperature);
  const cells = keys.length / width;
  const heads = model.heads;
  const each = width / heads;
  const logits = new Float64Array(heads * cells);
  for (let h = 0; h < heads; h++) {
    for (let s = 0; s < cells; s++) {
      let sum = 0;
      for (let d = h * each; d < (h + 1) * each; d++) sum += query[d] * keys[s * width + d];
      logits[h * cells + s] = sum / Math.sqrt(2 * each);
    }
  }
  return logits;
}

// What attention within anchors adds to the logits, (S,): −∞ outside, or less with the distance.
function anchorMask(mask, run, anchor) {
  const result = new Float64Array(run.levels.reduce((sum, [rows, columns]) => sum + rows * columns, 0));
  let at = 0;
  run.levels.forEach(([rows, columns], level) => {
    const [height, width] = run.canvas[level];
    const [ratioX, ratioY] = run.ratios[level];
    const distance = (count, cells, middle, size) => {
      const half = Math.max((mask.reach * size) / 2, 0.5 / cells) + 1e-6;
      return Array.from({ length: count }, (_, i) => Math.max(Math.abs((i + 0.5) / cells - middle) / half - 1, 0));
    };
    const alongX = distance(columns, width, anchor[0] * ratioX, anchor[2] * ratioX);
    const alongY = distance(rows, height, anchor[1] * ratioY, anchor[3] * ratioY);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const outside = alongY[y] + alongX[x];
        result[at++] = mask.fade === null ? (outside > 0 ? -Infinity : 0) : -mask.fade * outside;
      }
    }
  });
  return result;
}
