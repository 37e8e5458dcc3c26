// One detector: the image with what its chosen query sees, and its figures.

// A query that weighs a cell less than this part of an even spread does not look there.
const LEAST = 0.1;

class Side {
  constructor(model, index) {
    this.model = model;
    this.index = index;
    this.rows = page.images.map(() => 0);
    this.canvas = element('canvas', { className: 'image', role: 'img', tabIndex: 0 });
    this.bar = element('canvas', { width: 256, height: 1 });
    this.most = element('span');
    this.scale = element('div', { className: 'scale' });
    this.queries = element('div', { className: 'queries', role: 'group', 'aria-label': 'Queries' });
    this.note = element('p', { className: 'note', hidden: true });
    this.title = element('h3');
    this.chart = drawing('svg', { class: 'chart', role: 'img', viewBox: '0 0 320 136', preserveAspectRatio: 'xMinYMid meet' });
    this.table = element('table');
    this.lookers = element('ol', { className: 'lookers' });
    this.lookersTitle = element('h3');
    this.objects = element('div', { className: 'queries', role: 'group', 'aria-label': 'Objects' });
    this.objectsTitle = element('h3', { textContent: 'Ground truth: choose an object' });
    this.matches = element('p', { className: 'matches' });
    const stage = element('div', { className: 'stage' }, this.canvas, this.scale);
    const info = element('div', { className: 'info' },
      element('h3', { textContent: 'Queries, best first' }), this.queries, this.note,
      this.objectsTitle, this.objects, this.matches, this.lookersTitle, this.lookers, this.title, this.chart, this.table);
    const name = element('h2', { textContent: model.name });
    this.where = element('small');
    name.append(' ', this.where);
    this.caption = element('p', { className: 'caption' });
    this.root = element('article', { className: 'side' }, name, this.caption, element('div', { className: 'body' }, stage, info));
    this.canvas.addEventListener('click', (event) => this.click(event));
    this.drawBar();
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
  }

  get run() { return page.runs[this.index][state.image]; }
  get row() { return Math.min(this.rows[state.image], this.run.queries.length - 1); }
  get query() { return this.run.queries[this.row]; }
  get layer() { return Math.min(state.layer, this.model.layers - 1); }
  get own() { return this.run.formula && state.own ? this.asked() : null; }
  // The other detector may have more heads.
  get head() { return state.head < this.model.heads ? state.head : -1; }
  get attention() { return this.run.attention[this.layer]; }

  // What the sliders ask of this detector; where they say nothing, what is its own.
  asked() {
    const { anchor, temperature, cellTemperature, modulated } = state.own ?? {};
    const its = Array.from(anchorOf(this.run, this.layer, this.query));
    return {
      anchor: its.map((value, i) => (Number.isNaN(value) ? value : (anchor?.[i] ?? value))),
      temperature: temperature ?? this.model.formula.temperature,
      cellTemperature: cellTemperature ?? this.model.formula.cellTemperature,
      modulated: modulated ?? true,
    };
  }

  // What the query is called by its answer of a layer.
  answer(query, layer = this.model.layers - 1) {
    const at = layer * this.run.total + query;
    const label = numbers(this.run.labels)[at];
    return { label, name: this.model.classes[label] ?? `class ${label}`, score: numbers(this.run.best)[at] };
  }

  object(layer = this.layer, query = this.query) {
    return this.run.matched ? numbers(this.run.matched)[layer * this.run.total + query] : -1;
  }

  // Weights of the chosen query over the cells, or null where attention is at points.
  map() {
    if (!this.attention || this.attention.points) return null;
    return weightsOf(this, this.layer, this.row, this.part, this.head, this.own);
  }

  get part() { return this.attention?.content ? state.part : PARTS.both; }

  choose(row, others = true) {
    this.rows[state.image] = row;
    state.active = this.index;
    if (others) for (const side of sides) if (side !== this) side.follow(this);
    state.own = null;
    state.object = null;
    update();
  }

  // Choose the query whose box is most like that of another detector.
  follow(other) {
    const box = boxOf(other.run, other.model.layers - 1, other.query);
    const like = this.run.queries.map((query) => iou(box, boxOf(this.run, this.model.layers - 1, query)));
    this.rows[state.image] = like.indexOf(Math.max(...like));
  }

  click(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const x = (event.clientX - bounds.left) / bounds.width;
    const y = (event.clientY - bounds.top) / bounds.height;
    this.at(x, y);
  }

  // A point of the image was chosen.
  at(x, y) {
    state.active = this.index;
    if (state.mode === 'cell') {
      state.cell = { x, y };
      update();
      return;
    }
    const objects = page.images[state.image].objects;
    if (state.truth && objects) {
      const area = ({ box }) => box[2] * box[3];
      const [hit] = objects
        .map((object, number) => ({ ...object, number }))
        .filter(({ box }) => Math.abs(x - box[0]) <= box[2] / 2 && Math.abs(y - box[1]) <= box[3] / 2)
        .sort((one, other) => area(one) - area(other));
      if (hit) {
        this.chooseObject(hit.number);
        return;
      }
    }
    const last = this.model.layers - 1;
    const near = this.run.queries.map((query, row) => {
      const [cx, cy, w, h] = boxOf(this.run, last, query);
      const inside = Math.abs(x - cx) <= w / 2 && Math.abs(y - cy) <= h / 2;
      const shown = row < this.run.shown.length ? 0 : 1;
      return { row, inside, rank: shown * 10 + (inside ? w * h : 5 + Math.hypot(x - cx, y - cy)) };
    });
    near.sort((one, other) => one.rank - other.rank);
    this.choose(near[0].row);
  }

  // The query that a layer matches to an object, −1 for none.
  matchOf(object, layer) {
    const from = layer * this.run.total;
    return numbers(this.run.matched).subarray(from, from + this.run.total).indexOf(object);
  }

  // An object of the ground truth was chosen: go to its query in this layer.
  chooseObject(object) {
    state.object = object;
    for (const side of sides) {
      const row = side.run.queries.indexOf(side.matchOf(object, side.layer));
      if (row >= 0) side.rows[state.image] = row;
    }
    state.active = this.index;
    state.own = null;
    update();
  }

  listObjects() {
    const objects = state.truth ? page.images[state.image].objects : null;
    this.objectsTitle.hidden = this.objects.hidden = this.matches.hidden = !objects;
    if (!objects) return;
    const mine = this.object();
    const chosen = mine >= 0 ? mine : state.object;
    refill(this.objects, objects.map((object, number) => {
      const button = element('button', { textContent: `${number + 1} ${shortened(object.name, 18)}` });
      button.setAttribute('aria-pressed', number === chosen);
      button.addEventListener('click', () => this.chooseObject(number));
      return button;
    }));
    if (chosen === null || chosen < 0) {
      this.matches.textContent = objects.length ? '' : 'There is no object on this image.';
      return;
    }
    const parts = Array.from({ length: this.model.layers }, (_, layer) => {
      const query = this.matchOf(chosen, layer);
      const lacking = query < 0 || this.run.queries.includes(query) ? '' : ' (not on this page)';
      return `layer ${layer + 1}: ${query < 0 ? 'none' : `query ${query}${lacking}`}`;
    });
    this.matches.textContent = `Object ${chosen + 1} (${objects[chosen].name}) is matched to ${parts.join(', ')}.`;
  }

  cell() {
    if (!state.cell) return null;
    const [rows, columns] = this.run.levels[cellLevel(this)];
    const column = Math.min(Math.floor(state.cell.x * columns), columns - 1);
    return { row: Math.min(Math.floor(state.cell.y * rows), rows - 1), column, rows, columns };
  }

  // Who looks at the chosen cell: [{row, weight}], most first.
  looking() {
    const cell = this.cell();
    if (!cell || !this.attention) return [];
    const cells = this.run.levels.reduce((sum, [rows, columns]) => sum + rows * columns, 0);
    const least = this.attention.points ? 0 : LEAST / cells;
    return this.run.queries
      .map((_, row) => ({ row, weight: weightAt(this, this.layer, row, cell, row === this.row ? this.own : null) }))
      .filter(({ weight }) => weight > least)
      .sort((one, other) => other.weight - one.weight)
      .slice(0, 6);
  }

  drawBar() {
    const context = this.bar.getContext('2d');
    page.colours.forEach(([red, green, blue], i) => {
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      context.fillRect(i, 0, 1, 1);
    });
  }

  // `moment` is how far an anchor has come on its way to the answer, 0..1; null: it stands.
  draw(moment = state.moving ? 0 : null) {
    const picture = pictures[state.image];
    if (!picture) return;
    // A tall image leaves room for the sliders below it: both are seen at once.
    this.canvas.style.maxWidth = `${(70 * picture.width) / picture.height}vh`;
    const width = Math.max(Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio || 1, 2)), 200);
    const height = Math.round((width * picture.height) / picture.width);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const context = this.canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(picture, 0, 0, width, height);
    this.drawMap(context, width, height);
    this.drawBoxes(context, width, height, moment);
  }

  drawMap(context, width, height) {
    if (this.attention?.points) {
      this.drawPoints(context, width, height);
      return;
    }
    const weights = this.map();
    if (!weights) return;
    const level = Math.min(state.level, this.run.levels.length - 1);
    const [rows, columns] = this.run.levels[level];
    const start = levelStart(this.run, level);
    const shown = weights.subarray(start, start + rows * columns);
    const most = shown.reduce((one, other) => Math.max(one, other), 0);
    const small = new OffscreenCanvas(columns, rows);
    const image = new ImageData(columns, rows);
    shown.forEach((weight, i) => {
      const [red, green, blue] = page.colours[Math.round((255 * weight) / (most || 1))];
      // What gets little weight lets the image through.
      image.data.set([red, green, blue, 255 * (0.4 + 0.6 * Math.sqrt(weight / (most || 1)))], 4 * i);
    });
    small.getContext('2d').putImageData(image, 0, 0);
    context.globalAlpha = state.opacity;
    context.drawImage(small, 0, 0, width, height);
    context.globalAlpha = 1;
    this.most.textContent = most.toPrecision(2);
  }

  drawPoints(context, width, height) {
    const found = pointsOf(this, this.layer, this.row, this.head);
    const most = found.reduce((one, { weight }) => Math.max(one, weight), 0);
    const unit = width / 90;
    found.sort((one, other) => one.weight - other.weight);
    for (const { x, y, weight } of found) {
      const [red, green, blue] = page.colours[Math.round((255 * weight) / (most || 1))];
      context.beginPath();
      context.arc(x * width, y * height, unit * (0.35 + Math.sqrt(weight / (most || 1))), 0, 7);
      context.globalAlpha = state.opacity;
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 1;
      context.strokeStyle = '#000';
      context.stroke();
    }
    this.most.textContent = most.toPrecision(2);
  }

  drawBoxes(context, width, height, moment) {
    const unit = Math.max(width / 450, 1.2);
    const frame = (box, colour, thick, dash = []) => {
      const [cx, cy, w, h] = box;
      if (Number.isNaN(cx)) return;
      context.setLineDash([]);
      if (Number.isNaN(w)) {
        for (const [line, style] of [[thick + 1.5, '#000'], [thick, colour]]) {
          context.lineWidth = line * unit;
          context.strokeStyle = style;
          context.beginPath();
          for (const side of [-1, 1]) {
            context.moveTo(cx * width - 6 * unit, cy * height - side * 6 * unit);
            context.lineTo(cx * width + 6 * unit, cy * height + side * 6 * unit);
          }
          context.stroke();
        }
        return;
      }
      const at = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height];
      context.lineWidth = (thick + 1) * unit;
      context.strokeStyle = 'rgb(0 0 0 / 75%)';
      context.setLineDash(dash.map((length) => length * unit));
      context.strokeRect(...at);
      context.lineWidth = thick * unit;
      context.strokeStyle = colour;
      context.strokeRect(...at);
      context.setLineDash([]);
    };
    const tag = (box, text, colour, below = false) => {
      context.font = `600 ${Math.round(6.5 * unit)}px system-ui, sans-serif`;
      const wide = context.measureText(text).width + 6 * unit;
      const tall = 9 * unit;
      const x = Math.min(Math.max((box[0] - box[2] / 2) * width, 0), width - wide);
      const edge = below ? (box[1] + box[3] / 2) * height : (box[1] - box[3] / 2) * height - tall;
      const y = Math.min(Math.max(edge, 0), height - tall);
      context.fillStyle = colour;
      context.fillRect(x, y, wide, tall);
      context.fillStyle = '#000';
      context.textBaseline = 'middle';
      context.fillText(text, x + 3 * unit, y + tall / 2 + 0.3 * unit);
    };
    const last = this.model.layers - 1;
    for (const { query } of this.run.shown) {
      if (query !== this.query) frame(boxOf(this.run, this.layer, query), COLOURS.other, 1);
    }
    const objects = page.images[state.image].objects;
    if (state.truth && objects) {
      const mine = this.object();
      objects.forEach((object, number) => {
        const chosen = number === (mine >= 0 ? mine : state.object);
        frame(object.box, COLOURS.truth, chosen ? 2.6 : 1.6);
        if (chosen) tag(object.box, shortened(object.name), COLOURS.truth, true);
      });
    }
    // Where the anchor has been, then where it is and what is answered. Points stay.
    for (let layer = 0; layer < this.layer; layer++) {
      context.globalAlpha = 0.75;
      frame(anchorOf(this.run, layer, this.query), COLOURS.anchor, 1.3);
      context.globalAlpha = 1;
    }
    const own = this.own;
    const anchor = own ? own.anchor : anchorOf(this.run, this.layer, this.query);
    const after = boxOf(this.run, this.layer, this.query);
    const between = moment === null || own ? anchor : anchor.map((value, i) => value + (after[i] - value) * moment);
    if (!own) frame(after, COLOURS.query, 2.2);
    frame(between, COLOURS.anchor, 2, [5, 4]);
    if (!own) {
      const { name, score } = this.answer(this.query, this.layer);
      tag(after, `${shortened(name)} ${score.toFixed(2)}`, COLOURS.query);
    }
    const cell = this.cell();
    if (cell && state.mode === 'cell') {
      const looking = this.looking();
      const centre = [(cell.column + 0.5) / cell.columns, (cell.row + 0.5) / cell.rows];
      for (const { row, weight } of looking) {
        const [cx, cy] = boxOf(this.run, last, this.run.queries[row]);
        for (const [line, style] of [[2.6, '#000'], [1.2, COLOURS.cell]]) {
          context.globalAlpha = 0.25 + 0.75 * (weight / (looking[0].weight || 1));
          context.lineWidth = line * unit;
          context.strokeStyle = style;
          context.beginPath();
          context.moveTo(centre[0] * width, centre[1] * height);
          context.lineTo(cx * width, cy * height);
          context.stroke();
          context.beginPath();
          context.arc(cx * width, cy * height, (line + 1) * unit, 0, 7);
          context.fillStyle = style;
          context.fill();
        }
      }
      context.globalAlpha = 1;
      frame([...centre, 1 / cell.columns, 1 / cell.rows], COLOURS.cell, 2);
    }
  }

  // The sentence that says what one sees.
  sentence() {
    const { name, score } = this.answer(this.query, this.layer);
    const who = `query ${this.query} (${name} ${score.toFixed(2)})`;
    const head = this.head < 0 ? `the mean of its ${this.model.heads} heads` : `its head ${this.head + 1}`;
    const by = {
      both: this.attention?.content ? ', by content and position together' : '',
      content: ', by content alone: what it looks for'
        + (this.model.mixed.includes(this.layer) ? ' (to which this layer adds a learned position)' : ''),
      position: ', by position alone: where it looks',
    }[this.part];
    const start = `Layer ${this.layer + 1} of ${this.model.layers}: `;
    const its = anchorOf(this.run, this.layer, this.query);
    const what = !this.attention
      ? `${who}; the attention of this layer cannot be recorded`
      : this.attention.points
        ? `the dots are the points that ${who} samples with ${head}; large and yellow ones count most`
        : `yellow cells are those that ${who} weighs most with ${head}${by}`;
    const isPoint = Number.isNaN(its[2]);
    const anchor = Number.isNaN(its[0])
      ? 'the solid box is what this layer answers; this detector has no anchors'
      : this.own
        ? `the ${isPoint ? 'crossed point' : 'dashed anchor'} is yours`
        : `${isPoint ? 'the cross is its point' : 'dashed is its anchor'} before the layer, solid what the layer answers`;
    let text = `${start}${what}; ${anchor}.`;
    if (state.mode === 'cell' && this.cell()) {
      text += this.attention
        ? ' Vermilion is the chosen cell; lines lead to the queries that weigh it most.'
        : ' Vermilion is the chosen cell; nothing says who looks there.';
    }
    const objects = page.images[state.image].objects;
    if (state.truth && objects) {
      const object = this.object();
      text += object < 0
        ? ' Green is the ground truth; no object is matched to this query here.'
        : ` Green is the ground truth; this layer's query is matched to object ${object + 1} (${objects[object].name}).`;
    }
    return text;
  }

  update() {
    this.listQueries();
    this.tabulate();
    this.plot();
    this.listObjects();
    this.listLookers();
    this.draw();
    const seen = this.sentence();
    this.canvas.setAttribute('aria-label', seen);
    this.caption.hidden = sides.length < 2;
    this.caption.textContent = seen;
    const boxes = this.keys().map(([key, text, style]) => {
      const sample = element('i', { className: style, textContent: style === 'cross' ? '✕' : '' });
      sample.style.borderColor = sample.style.color = COLOURS[key];
      return element('span', { className: 'keybox' }, sample, text);
    });
    const bar = this.attention ? ['0', this.bar, this.most] : [];
    this.scale.replaceChildren(...bar, ...boxes);
    this.where.textContent = `layer ${this.layer + 1} of ${this.model.layers}`;
  }

  // What is drawn over the image: [colour, words, style].
  keys() {
    const anchor = anchorOf(this.run, this.layer, this.query);
    const isPoint = Number.isNaN(anchor[2]);
    const keys = [];
    if (!Number.isNaN(anchor[0])) {
      keys.push(['anchor', isPoint ? 'point' : 'anchor', isPoint ? 'cross' : 'dashed']);
      if (this.layer && !isPoint) keys.push(['anchor', 'anchors before', 'thin']);
    }
    if (!this.own) keys.push(['query', 'answer', 'solid']);
    keys.push(['other', 'other queries', 'thin']);
    if (state.truth && page.images[state.image].objects) keys.push(['truth', 'ground truth', 'solid']);
    if (state.mode === 'cell' && this.cell()) keys.push(['cell', 'cell', 'solid']);
    return keys;
  }

  listQueries() {
    const { run } = this;
    const name = `${state.image}`;
    if (this.queries.dataset.of !== name) {
      this.queries.dataset.of = name;
      this.queries.replaceChildren(...run.queries.map((query, row) => {
        const { name: called, score } = this.answer(query);
        const button = element('button', {
          textContent: `${shortened(called)} ${score.toFixed(2)} · ${query}`, title: `query ${query}: ${called}`,
          className: score < page.threshold ? 'low' : '',
        });
        button.addEventListener('click', () => this.choose(row));
        return button;
      }));
    }
    [...this.queries.children].forEach((button, row) => button.setAttribute('aria-pressed', row === this.row));
    const { offsetTop, offsetHeight } = this.queries.children[this.row];
    const { scrollTop, clientHeight } = this.queries; // the list scrolls, never the page
    if (offsetTop < scrollTop) this.queries.scrollTop = offsetTop;
    if (offsetTop + offsetHeight > scrollTop + clientHeight) this.queries.scrollTop = offsetTop + offsetHeight - clientHeight + 2;
    this.note.hidden = !run.note;
    this.note.textContent = run.note ?? '';
  }

  tabulate() {
    const objects = page.images[state.image].objects;
    const heading = ['layer', 'x', 'y', 'w', 'h', 'score', objects ? 'matched to' : ''];
    const head = element('tr', {}, ...heading.map((text) => element('th', { textContent: text, scope: 'col' })));
    const rows = Array.from({ length: this.model.layers }, (_, layer) => {
      const anchor = Array.from(anchorOf(this.run, layer, this.query), (value) => fixed(value, 3));
      const object = this.object(layer);
      const match = !objects ? '' : object < 0 ? 'no object' : `${object + 1} ${shortened(objects[object].name, 16)}`;
      const cells = [layer + 1, ...anchor, this.answer(this.query, layer).score.toFixed(3), match];
      const line = element('tr', {}, ...cells.map((text) => element('td', { textContent: text })));
      if (layer === this.layer) line.setAttribute('aria-current', 'true');
      line.addEventListener('click', () => go(layer));
      return line;
    });
    const caption = Number.isNaN(anchorOf(this.run, 0, this.query)[0]) ? 'this detector has no anchors' : 'anchor before each layer';
    this.title.textContent = `Query ${this.query}, layer by layer (${caption})`;
    this.table.replaceChildren(element('thead', {}, head), element('tbody', {}, ...rows));
  }

  // Scores of the best classes by layer.
  plot() {
    const { run, model } = this;
    const classes = model.classes.length;
    const scores = numbers(run.scores);
    const at = (layer, label) => scores[(layer * run.queries.length + this.row) * classes + label] / 65535;
    const last = model.layers - 1;
    const best = Array.from({ length: classes }, (_, label) => label)
      .sort((one, other) => at(last, other) - at(last, one)).slice(0, Math.min(3, classes));
    const x = (layer) => 30 + (last ? (layer * 190) / last : 95);
    const y = (score) => 112 - 104 * score;
    const parts = [];
    for (const score of [0, 0.5, 1]) {
      parts.push(drawing('line', { class: 'axis', x1: 26, x2: 224, y1: y(score), y2: y(score) }));
      parts.push(drawing('text', { x: 20, y: y(score) + 4, 'text-anchor': 'end' }, String(score)));
    }
    parts.push(drawing('line', { class: 'here', x1: x(this.layer), x2: x(this.layer), y1: 6, y2: 114 }));
    for (let layer = 0; layer <= last; layer++) {
      parts.push(drawing('text', { x: x(layer), y: 128, 'text-anchor': 'middle' }, String(layer + 1)));
    }
    const labels = best.map((label, i) => ({ label, i, y: y(at(last, label)) })).sort((one, other) => one.y - other.y);
    labels.forEach((entry, i) => { if (i) entry.y = Math.max(entry.y, labels[i - 1].y + 13); });
    const over = Math.max(labels.at(-1).y - 122, 0);
    for (const { label, i, y: place } of labels) {
      const points = Array.from({ length: last + 1 }, (_, layer) => `${x(layer)},${y(at(layer, label))}`).join(' ');
      const line = drawing('polyline', { points, fill: 'none', 'stroke-width': 2.2, 'stroke-dasharray': DASHES[i] });
      line.style.stroke = LINES[i];
      parts.push(line);
      for (let layer = 0; layer <= last; layer++) {
        const dot = drawing('circle', { cx: x(layer), cy: y(at(layer, label)), r: 2.6 });
        dot.style.fill = LINES[i];
        parts.push(dot);
      }
      // Letters in colour would be too pale to read.
      const spot = place - over;
      const sample = drawing('line', { x1: 229, x2: 243, y1: spot, y2: spot, 'stroke-width': 2.2, 'stroke-dasharray': DASHES[i] });
      sample.style.stroke = LINES[i];
      parts.push(sample, drawing('text', { x: 247, y: spot + 4 }, shortened(model.classes[label], 13)));
    }
    this.chart.setAttribute('aria-label', `Scores by layer: ${best.map((label) => model.classes[label]).join(', ')}`);
    this.chart.replaceChildren(...parts);
  }

  listLookers() {
    const cell = state.mode === 'cell' && this.attention ? this.cell() : null;
    this.lookersTitle.hidden = this.lookers.hidden = !cell;
    if (!cell) return;
    const looking = this.looking();
    const place = `cell ${cell.row + 1} · ${cell.column + 1} (row · column) in layer ${this.layer + 1}`;
    const of = `${this.run.queries.length} of ${this.run.total} queries are on this page`;
    this.lookersTitle.textContent = looking.length ? `Who looks at ${place} (${of})` : `No query of this page looks at ${place} (${of})`;
    refill(this.lookers, looking.map(({ row, weight }) => {
      const query = this.run.queries[row];
      const { name } = this.answer(query);
      const bar = element('i', { className: 'bar' });
      bar.style.width = `${(100 * weight) / (looking[0].weight || 1)}%`;
      const button = element('button', { title: `query ${query}: ${name}` },
        element('span', { textContent: `${query} ${shortened(name, 14)}` }), bar, element('b', { textContent: weight.toPrecision(2) }));
      button.addEventListener('click', () => this.choose(row));
      return element('li', {}, button);
    }));
  }
}
