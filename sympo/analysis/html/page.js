"use strict";
(() => {
  // everything that people or models wrote goes in as textContent
  const $ = id => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const W = 360, H = 250, LEFT = 48, RIGHT = 10, TOP = 10, BOTTOM = 40;
  const MOST_TABLES = 8, MOST_CELLS = 100, FEW_CHIPS = 12;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }
  function draw(tag, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) {
      // the page's policy forbids style attributes, not styles set by its script
      if (name === "style") made.style.cssText = value; else made.setAttribute(name, value);
    }
    if (text) made.textContent = text;
    return made;
  }

  // ---- parts: gzip in base64 ----------------------------------------------------------------
  const parts = new Map();
  async function bytes(name) {
    const held = atob($(`part-${name}`).textContent);
    const raw = new Uint8Array(held.length);
    for (let at = 0; at < held.length; at++) raw[at] = held.charCodeAt(at);
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }
  const holds = name => Boolean($(`part-${name}`));
  function unpacked(name) {
    if (!parts.has(name)) {
      parts.set(name, bytes(name).then(raw => JSON.parse(new TextDecoder().decode(raw))));
    }
    return parts.get(name);
  }

  // ---- state --------------------------------------------------------------------------------
  let board, rowsAt, differenceAt, cells = null, cellsAt = null;
  const state = {
    at: [], metric: -1, epoch: 0, base: -1, sort: "rank", down: false, tables: MOST_TABLES,
    losses: new Set(), noises: new Set(), seeds: new Set(),  // hidden ones
  };
  const key = (...of) => of.join("|");

  function index() {
    const rows = board.rows, differences = board.differences;
    rowsAt = new Map();
    for (let i = 0; i < rows.e.length; i++) {
      const at = key(rows.e[i], rows.n[i], rows.m[i], rows.w[i]);
      if (rowsAt.has(at)) rowsAt.get(at).push(i); else rowsAt.set(at, [i]);
    }
    differenceAt = new Map();
    for (let i = 0; i < differences.e.length; i++) {
      const d = differences;
      differenceAt.set(key(d.e[i], d.n[i], d.m[i], d.w[i], d.v[i], d.b[i]), i);
    }
  }
  async function withCells() {
    if (cells === null) {
      const loaded = await unpacked("cells");
      cellsAt = new Map();
      for (let i = 0; i < loaded.e.length; i++) {
        const at = key(loaded.e[i], loaded.v[i], loaded.n[i]);
        if (cellsAt.has(at)) cellsAt.get(at).push(i); else cellsAt.set(at, [i]);
      }
      cells = loaded;
    }
    return cells;
  }

  // ---- words --------------------------------------------------------------------------------
  const format = (value, unit) => value === null || value === undefined ? "" :
    unit === "%" ? value.toFixed(1).replace(/^-0\.0$/, "0.0") : String(Number(value.toPrecision(3)));
  const signed = (value, unit) => (value > 0 ? "+" : "") + format(value, unit);
  const seedsInWords = k => k === 1 ? "1 seed" : `${k} seeds`;
  const few = k => k === 1 ? "one seed only" : k === 2 ? "two seeds only" : "";

  // ---- tips, by pointer, keyboard and touch -------------------------------------------------
  const tip = $("tip");
  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - box.width - 6))}px`;
    tip.style.top = `${y + box.height + 20 > innerHeight ? Math.max(4, y - box.height - 10) : y + 14}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  function explained(node, text) {
    const show = () => {
      const box = node.getBoundingClientRect();
      showTip(text, box.left, box.bottom - 8);
    };
    node.setAttribute("aria-description", text);
    node.addEventListener("pointerenter", show);
    node.addEventListener("focus", show);
    node.addEventListener("pointerleave", hideTip);
    node.addEventListener("blur", hideTip);
    return node;
  }
  addEventListener("scroll", hideTip, { passive: true });
  addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });

  // ---- looks --------------------------------------------------------------------------------
  function visible(color) {
    const rgb = [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16));
    const light = (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255;
    if (!dark.matches || light > 0.3) return color;
    return `color-mix(in srgb, ${color} ${light < 0.08 ? 15 : 60}%, white)`;
  }
  const face = look => look.family ? visible(look.color) :
    `color-mix(in srgb, ${visible(look.color)} 30%, var(--card))`;
  const lineOf = (look, width = 1.6) => ({
    style: `stroke:${visible(look.color)};stroke-width:${width};fill:none;` +
      (look.dash.length ? `stroke-dasharray:${look.dash.map(d => d * width).join(" ")}` : ""),
  });
  const mark = (look, x, y, size, hollow) => draw("path", {
    d: look.marker, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${size})`,
    style: `fill:${hollow ? "var(--card)" : face(look)};stroke:${visible(look.color)};` +
      `stroke-width:${1.3 / size}`,
  });
  function swatch(look) {
    const svg = draw("svg", { viewBox: "0 0 36 14", class: "swatch", "aria-hidden": "true" });
    svg.append(draw("path", { d: "M1 7H35", ...lineOf(look, 1.8) }));
    if (look.marker) svg.append(mark(look, 18, 7, 4));
    return svg;
  }

  // ---- filters ------------------------------------------------------------------------------
  const metricsOf = e => board.metrics.map((_, m) => m).filter(m =>
    board.noises.some((_, n) => rowsAt.has(key(e, n, m, 0)) || rowsAt.has(key(e, n, m, 1))));
  const shownExperiments = () => board.experiments.map((_, e) => e).filter(e =>
    state.at.every((value, s) => value < 0 || board.experiments[e].at[s] === value));

  function select(label, options, value, onchange, help) {
    const made = el("select");
    for (const [at, text] of options) made.append(el("option", { value: at }, text));
    made.value = value;
    made.addEventListener("change", () => { onchange(Number(made.value)); update(); });
    return explained(el("label", {}, `${label} `, made), help);
  }
  function chips(legend, names, hidden, looks) {
    const set = el("fieldset", { class: "chips" }, el("legend", {}, legend));
    names.forEach((name, at) => {
      const chip = el("button", { type: "button", "aria-pressed": String(!hidden.has(at)) });
      if (looks) chip.append(swatch(looks[at]));
      chip.append(name);
      chip.dataset.at = at;
      chip.addEventListener("click", () => toggle(hidden, at));
      set.append(chip);
    });
    return set;
  }
  function toggle(hidden, at) {
    if (hidden.has(at)) hidden.delete(at); else hidden.add(at);
    update();
  }
  function seedsBox() {
    const box = el("input", { type: "text", size: 10, placeholder: "all, or 0-9,12" });
    box.addEventListener("change", () => {
      const ranges = box.value.split(",").map(one => one.trim().split("-").map(Number));
      const inside = seed => ranges.some(([low, high = low]) => low <= seed && seed <= high);
      state.seeds = new Set(box.value.trim() ? board.seeds.map((_, s) => s).filter(
        s => !inside(board.seeds[s])) : []);
      update();
    });
    return el("label", {}, "Seeds ", box);
  }
  const losses = () => board.variants.map((_, v) => v).filter(v => !board.variants[v].baseline);
  function sameEpochs() {
    const { e, n, v, m, w, mean } = board.rows;
    const last = new Map();
    for (let i = 0; i < e.length; i++) if (w[i] === 0) last.set(key(e[i], n[i], v[i], m[i]), mean[i]);
    for (let i = 0; i < e.length; i++) {
      if (w[i] === 1 && last.get(key(e[i], n[i], v[i], m[i])) !== mean[i]) return false;
    }
    return true;
  }
  function buildFilters() {
    const line = el("div");
    state.at = board.settings.map(() => -1);
    board.settings.forEach((setting, s) => line.append(select(
      setting.name.replaceAll("_", " "),
      [[-1, "all"], ...setting.values.map((value, at) => [at, value])], -1,
      value => { state.at[s] = value; }, `Show experiments with this ${setting.name} only.`)));
    if (board.metrics.length > 1) {
      line.append(select("Metric", [[-1, "the main one of each job"],
        ...board.metrics.map((metric, at) => [at, metric.label])], -1,
      value => { state.metric = value; }, "The number that the leaderboard ranks by."));
    }
    if (!sameEpochs()) {
      line.append(select("Epoch", board.epochs.map((name, at) => [at, name]), 0,
        value => { state.epoch = value; },
        "The last epoch of training, or the one with the best accuracy on noisy validation labels."));
    }
    if (losses().length > 1) {
      // by default the first loss outside the symmetric family, which others mean to improve on
      state.base = losses().find(v => !board.variants[v].family) ?? losses()[0];
      line.append(select("Compare with", losses().map(v => [v, board.variants[v].name]), state.base,
        value => { state.base = value; },
        "Differences are to this loss, paired by seed: the same pairs, flips and initial weights."));
    }
    if (board.noises.length > 1) line.append(chips("Noise", board.noises.map(String), state.noises));
    if (board.seeds.length > FEW_CHIPS) line.append(seedsBox());
    else if (board.seeds.length > 1) line.append(chips("Seeds", board.seeds.map(String), state.seeds));
    if (losses().length > 1) {
      line.append(chips("Losses", losses().map(v => board.variants[v].name), state.losses,
        losses().map(v => board.variants[v])));
    }
    $("filters").append(line);
    $("filters").hidden = !line.children.length;
  }
  function press() {
    const sets = { Noise: state.noises, Seeds: state.seeds, Losses: state.losses };
    for (const set of $("filters").querySelectorAll("fieldset")) {
      const hidden = sets[set.firstChild.textContent];
      for (const chip of set.querySelectorAll("button")) {
        chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.at))));
      }
    }
  }

  // ---- leaderboard --------------------------------------------------------------------------
  const hiddenLoss = v => state.losses.has(losses().indexOf(v));

  // mean and Student t interval of some values
  function meanOf(values) {
    const k = values.length;
    if (!k) return { k, mean: null, low: null, high: null };
    const mean = values.reduce((sum, value) => sum + value, 0) / k;
    if (k < 2) return { k, mean, low: null, high: null };
    const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (k - 1);
    const half = board.t[k - 2] * Math.sqrt(square / k);
    return half > 0 ? { k, mean, low: mean - half, high: mean + half } : { k, mean, low: null, high: null };
  }
  function valuesBySeed(e, v, n, m, w) {
    const column = cells.values[`${m}.${w}`] ?? [], found = new Map();
    for (const cell of cellsAt.get(key(e, v, n)) ?? []) {
      const value = column[cell];
      if (!state.seeds.has(cells.s[cell]) && value !== null && value !== undefined) {
        found.set(cells.s[cell], value);
      }
    }
    return found;
  }
  function overSeeds(row, e, n, m, w) {
    const own = valuesBySeed(e, row.v, n, m, w), base = valuesBySeed(e, state.base, n, m, w);
    Object.assign(row, meanOf([...own.values()]), { interval: "over the chosen seeds (Student t)" });
    if (row.v !== state.base) {
      const pairs = [...own].filter(([seed]) => base.has(seed)).map(([seed, y]) => y - base.get(seed));
      const found = meanOf(pairs);
      row.d = found.mean; row.dlow = found.low; row.dhigh = found.high; row.p = null;
    }
    return row;
  }
  function rowOf(i, e, n, m, w) {
    const r = board.rows, v = r.v[i], d = board.differences;
    const row = {
      v, name: board.variants[v].name, beside: Boolean(board.variants[v].baseline), k: r.k[i],
      mean: r.mean[i], low: r.low[i], high: r.high[i], interval: board.intervals[r.interval[i]],
      missing: r.missing[i], tie: r.tie[i], oracle: r.oracle[i], paper: r.paper?.[i] ?? null,
      d: null, dlow: null, dhigh: null, p: null,
    };
    if (row.beside) return row;
    if (state.seeds.size && cells) return overSeeds(row, e, n, m, w);
    for (const [a, b, sign] of [[v, state.base, 1], [state.base, v, -1]]) {
      const at = differenceAt.get(key(e, n, m, w, a, b));
      if (at !== undefined && d.d[at] !== null) {
        row.d = sign * d.d[at];
        row.p = d.p[at];
        [row.dlow, row.dhigh] = d.low[at] === null ? [null, null] :
          sign > 0 ? [d.low[at], d.high[at]] : [-d.high[at], -d.low[at]];
      }
    }
    return row;
  }
  function columnsOf(unit, rows) {
    const base = state.base >= 0 ? board.variants[state.base].name : "";
    const points = unit === "%" ? "points" : unit;
    const all = [
      ["rank", "#", "Rank by the mean, among the losses shown. Losses whose intervals overlap may be in either order.",
        row => row.rank ?? ""],
      ["name", "Loss", "The loss with the settings that differ. *: the loss or the filter was given the true noise rate (oracle). In italics: baselines on the same test pairs, without rank.",
        row => row.name + (row.oracle ? " *" : "")],
      ["mean", unit ? `Mean (${unit})` : "Mean", "Mean over the seeds.", row => format(row.mean, unit)],
      ["low", "95% interval", "Interval of the mean; point at a row to read how it was made. Two seeds are too few for a t interval; one seed says nothing about how training varies.",
        row => row.low === null ? (row.beside ? "" : "none") : `${format(row.low, unit)} to ${format(row.high, unit)}`],
      ["k", "n", "Seeds that the mean is over. Two seeds are too few for a t interval, whose factor is then 12.7; one seed says nothing about training.",
        row => row.beside ? "" : row.k],
      ["d", `Minus ${base}`, `Difference to ${base} in ${points || "the metric's unit"}: mean over seeds of the difference at the same seed, with its 95% interval. An interval without 0 separates the two.`,
        row => row.d === null ? (row.v === state.base ? "–" : "") : signed(row.d, unit)],
      ["p", "p", "p of that difference, adjusted by Holm's method for all pairs of losses and noise rates of the experiment.",
        row => row.p === null ? "" : row.p < 0.001 ? "<0.001" : row.p.toFixed(3)],
      ["tie", "Ties (%)", "Test pairs whose predicted rewards are equal, counted one half.", row => format(row.tie, "%")],
      ["missing", "Missing", "Cells of the grid without this number: failed, unfinished or never run.", row => row.missing || ""],
      ["paper", "Paper", "The number that the paper reports.", row => format(row.paper, unit)],
    ];
    const used = {
      d: losses().length > 1, p: rows.some(row => row.p !== null), tie: rows.some(row => row.tie > 1),
      missing: rows.some(row => row.missing), paper: rows.some(row => row.paper !== null),
    };
    return all.filter(([name]) => used[name] ?? true);
  }
  function sorted(rows) {
    const by = state.sort, sign = state.down ? -1 : 1;
    const value = row => by === "rank" ? row.rank ?? Infinity : row[by];
    return [...rows].sort((a, b) => {
      if (a.beside !== b.beside) return a.beside ? 1 : -1;
      const x = value(a), y = value(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    });
  }
  function tableOf(e, n, m) {
    const w = state.epoch, metric = board.metrics[m];
    const rows = (rowsAt.get(key(e, n, m, w)) ?? []).filter(i => !hiddenLoss(board.rows.v[i]))
      .map(i => rowOf(i, e, n, m, w));
    if (!rows.some(row => !row.beside)) return null;
    rows.filter(row => !row.beside && row.mean !== null).sort((a, b) => b.mean - a.mean)
      .forEach((row, at) => { row.rank = at + 1; });
    const columns = columnsOf(metric.unit, rows);
    const head = el("tr");
    for (const [name, label, help] of columns) {
      const arrow = state.sort !== name ? "" : state.down ? "\u00a0▾" : "\u00a0▴";
      const button = explained(el("button", { type: "button" }, label + arrow), help);
      button.addEventListener("click", () => {
        state.down = state.sort === name ? !state.down : ["mean", "d", "k"].includes(name);
        state.sort = name;
        update(`#tables [data-table="${e}-${n}"] thead [data-column="${name}"] button`);
      });
      const sort = state.sort === name ? (state.down ? "descending" : "ascending") : "none";
      head.append(el("th", { scope: "col", "aria-sort": sort, "data-column": name }, button));
    }
    const body = el("tbody");
    for (const row of sorted(rows)) body.append(rowNode(row, columns, metric, e, n));
    const caption = el("caption", {}, `${board.experiments[e].title}, noise ${board.noises[n]}`,
      el("br"), el("small", { class: "of" }, metric.label));
    const table = el("table", {}, caption, el("thead", {}, head), body);
    return el("div", { class: "table", "data-table": `${e}-${n}` }, el("div", { class: "scroll" }, table));
  }
  function rowNode(row, columns, metric, e, n) {
    const line = el("tr", row.beside ? { class: "beside" } : {});
    for (const [name, , , text] of columns) {
      const cell = el("td");
      if (name === "name" && !row.beside) {
        const button = el("button", { type: "button" }, swatch(board.variants[row.v]), String(text(row)));
        button.setAttribute("aria-label", `${text(row)}: show cells`);
        cell.append(button);
      } else cell.append(String(text(row)));
      if (name === "low" && !row.beside && row.low !== null && few(row.k)) {
        cell.append(el("br"), el("span", { class: "few" }, few(row.k)));
      }
      if (name === "d" && row.dlow !== null) {
        cell.append(el("br"), el("small", {}, `${format(row.dlow, metric.unit)} to ${format(row.dhigh, metric.unit)}`));
      }
      line.append(cell);
    }
    if (!row.beside) {
      line.title = `95% interval: ${row.interval}`;
      line.addEventListener("click", () => openCells(e, row.v, n));
    }
    return line;
  }
  function renderBoard() {
    const wanted = [];
    for (const e of shownExperiments()) {
      const own = metricsOf(e), m = state.metric < 0 ? own[0] : state.metric;
      if (m === undefined) continue;
      board.noises.forEach((_, n) => {
        if (!state.noises.has(n) && rowsAt.has(key(e, n, m, state.epoch))) wanted.push([e, n, m]);
      });
    }
    const made = [];
    for (const one of wanted.slice(0, state.tables)) {
      const table = tableOf(...one);
      if (table) made.push(table);
    }
    $("tables").replaceChildren(...(made.length ? made : [el("p", { class: "hint" }, "Nothing fits these filters.")]));
    const left = wanted.length - state.tables;
    $("more-tables").hidden = left <= 0;
    $("more-tables").textContent = `Show ${Math.min(left, 3 * MOST_TABLES)} more of ${wanted.length} tables`;
    $("board-hint").textContent = [
      "A table for each experiment and noise rate. Click a heading to sort, a row for its cells.",
      sameEpochs() ? "The epoch chosen by noisy validation gives the same numbers as the last one." : "",
      state.seeds.size ? "Of the chosen seeds only: Student t over seeds, without the test items; differences are not adjusted." : "",
    ].join(" ");
  }
  $("more-tables").addEventListener("click", () => { state.tables += 3 * MOST_TABLES; renderBoard(); });

  // ---- figures ------------------------------------------------------------------------------
  const inView = new Set(), stale = new Set(), hiddenLines = new WeakMap();
  const watcher = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { inView.add(target); if (stale.has(target)) drawFigure(target); }
      else inView.delete(target);
    }
  }, { rootMargin: "300px" });

  async function drawFigure(figure) {
    stale.delete(figure);
    const name = figure.dataset.part, place = figure.querySelector(".drawing");
    if (!holds(name)) {
      place.textContent = "Not inside this page: see the files.";
      return;
    }
    const chart = await unpacked(name);
    if (chart.svg) {
      if (!place.firstChild) {
        const url = URL.createObjectURL(new Blob([chart.svg], { type: "image/svg+xml" }));
        const image = el("img", { src: url, alt: place.getAttribute("aria-label"), class: "image" });
        place.append(el("div", { class: "image-scroll" }, image));
      }
      return;
    }
    const series = chart.series ?? board.variants;
    const hidden = chart.series ? hiddenLines.get(figure) ?? new Set() : null;
    const isHidden = s => hidden ? hidden.has(s) : hiddenLoss(s);
    const hide = s => {
      if (hidden) { hiddenLines.set(figure, hidden.has(s) ? (hidden.delete(s), hidden) : hidden.add(s)); drawFigure(figure); }
      else toggle(state.losses, losses().indexOf(s));
    };
    const panels = chart.panels.map((panel, at) => ({ ...panel, at }))
      .filter(panel => panel.n === undefined || !state.noises.has(panel.n));
    const labels = new Set(panels.map(panel => panel.ylabel));
    const grid = el("div", { class: panels.length < 3 ? "panels wide" : "panels" });
    for (const panel of panels) grid.append(panelNode(chart, panel, series, isHidden));
    place.replaceChildren(legendOf(chart, series, isHidden, hide),
      ...(labels.size === 1 ? [el("p", { class: "hint" }, [...labels][0])] : []), grid);
  }
  function legendOf(chart, series, isHidden, hide) {
    const legend = el("div", { class: "chips" });
    for (const s of [...new Set(chart.points.s)].sort((a, b) => a - b)) {
      if (!series[s].name) continue;
      const chip = el("button", { type: "button", "aria-pressed": String(!isHidden(s)) }, swatch(series[s]), series[s].name);
      chip.addEventListener("click", () => hide(s));
      legend.append(chip);
    }
    for (const level of chart.levels) {
      legend.append(el("span", { class: "of" }, swatch({ color: level.color, dash: level.dash ?? [] }), level.label));
    }
    return legend;
  }

  function panelNode(chart, panel, series, isHidden) {
    const svg = draw("svg", {
      viewBox: `0 0 ${W} ${H}`, tabindex: 0, role: "group", "aria-roledescription": "chart",
      "aria-label": `${panel.title} ${panel.ylabel} against ${panel.xlabel}; arrow keys move from point to point`,
    });
    const px = value => LEFT + (value - panel.x[0]) / (panel.x[1] - panel.x[0]) * (W - LEFT - RIGHT);
    const py = value => H - BOTTOM - (value - panel.y[0]) / (panel.y[1] - panel.y[0]) * (H - TOP - BOTTOM);
    axes(svg, panel, px, py);
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    svg.append(draw("clipPath", { id: clip }));
    svg.lastChild.append(draw("rect", { x: LEFT, y: TOP - 4, width: W - LEFT - RIGHT + 4, height: H - TOP - BOTTOM + 4 }));
    const inside = draw("g", { "clip-path": `url(#${clip})` });
    svg.append(inside);
    levels(inside, chart, panel, px, py);
    const p = chart.points, order = [...new Set(p.s)].sort((a, b) => a - b);
    const step = chart.kind === "points" ? dodge(chart, px, order.length) : 0;
    const points = [];
    order.forEach((s, place) => {
      if (isHidden(s)) return;
      const own = [];
      for (let i = 0; i < p.p.length; i++) {
        if (p.p[i] !== panel.at || p.s[i] !== s || p.y[i] === null) continue;
        if (chart.kind === "points" && p.n && state.noises.has(p.n[i])) continue;
        const level = p.x[i] === null;
        const x = level ? null : px(p.x[i]) + step * (place - (order.length - 1) / 2);
        own.push({ i, s, x, y: py(p.y[i]), level });
      }
      series_(inside, chart, series[s], own.filter(point => !point.level), place, py, px);
      for (const point of own.filter(one => one.level)) {
        inside.append(draw("path", { d: `M${LEFT} ${point.y}H${W - RIGHT}`, ...lineOf(series[s], 1.2) }));
      }
      points.push(...own.filter(point => !point.level));
    });
    interact(svg, chart, panel, series, points);
    const title = panel.title ? [el("h4", {}, panel.title)] : [];
    return el("div", { class: "panel" }, ...title, svg);
  }
  function dodge(chart, px, lines) {
    const at = [...new Set(chart.points.x)].filter(x => x !== null).sort((a, b) => a - b).map(px);
    const gaps = at.slice(1).map((x, i) => x - at[i]);
    const gap = Math.min(...gaps, 80);
    return Math.min(7, 0.42 * gap / Math.max(lines, 2));
  }
  function axes(svg, panel, px, py) {
    const label = (x, y, text, anchor, more = {}) => svg.append(draw("text", { x, y, "text-anchor": anchor, ...more }, text));
    let until = -Infinity;
    for (const [value, text] of panel.xticks) {
      const x = px(value), half = 3.2 * text.length;
      svg.append(draw("path", { class: "grid", d: `M${x} ${TOP}V${H - BOTTOM}` }));
      if (x - half < until) continue;
      until = x + half + 4;
      label(Math.min(x, W - half), H - BOTTOM + 14, text, "middle");
    }
    const every = Math.ceil(panel.yticks.length / 7);
    panel.yticks.forEach(([value, text], at) => {
      if (at % every) return;
      svg.append(draw("path", { class: "grid", d: `M${LEFT} ${py(value)}H${W - RIGHT}` }));
      label(LEFT - 5, py(value) + 4, text, "end");
    });
    svg.append(draw("path", { class: "axis", d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}` }));
    label((LEFT + W - RIGHT) / 2, H - 6, panel.xlabel, "middle");
  }
  function levels(inside, chart, panel, px, py) {
    for (const level of chart.levels) {
      const look = { color: level.color, dash: level.dash ?? [] };
      if (level.marks) {
        if (!panel.title.toLowerCase().startsWith(level.w) && chart.panels.length > 1 && level.w === "last") continue;
        for (const [x, y] of level.marks) {
          inside.append(draw("path", { d: "M0 -5L5 0L0 5L-5 0Z", transform: `translate(${px(x)} ${py(y)})`, style: `fill:none;stroke:${visible(level.color)};stroke-width:1.4` }));
        }
        continue;
      }
      const line = level.line ?? [[panel.x[0], level.y], [panel.x[1], level.y]];
      const d = line.map(([x, y], at) => `${at ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
      const node = draw("path", { d, ...lineOf(look, level.wide ? 5 : 1.3) });
      if (level.wide) node.setAttribute("opacity", "0.4");
      inside.append(node);
    }
  }
  function series_(inside, chart, look, own, place, py, px) {
    const p = chart.points, color = visible(look.color);
    if (!own.length) return;
    const joined = !chart.categories;
    const d = own.map((point, at) => `${at ? "L" : "M"}${point.x.toFixed(1)} ${point.y.toFixed(1)}`).join("");
    const ends = own.filter(({ i }) => p.low[i] !== null);
    const short = own.some(({ i }) => p.missing[i] > 0);
    if (chart.kind === "band" && ends.length > 1) {
      const up = ends.map(({ i, x }) => `${x.toFixed(1)} ${py(p.high[i]).toFixed(1)}`);
      const down = ends.map(({ i, x }) => `${x.toFixed(1)} ${py(p.low[i]).toFixed(1)}`).reverse();
      inside.append(draw("path", {
        d: `M${up.join("L")}L${down.join("L")}Z`,
        style: short ? `fill:none;stroke:${color};stroke-width:.7` : `fill:${color};opacity:.12`,
      }));
    } else {
      const last = own[own.length - 1];
      for (const { i, x, y } of chart.kind === "trail" ? ends.filter(point => point.i === last.i) : ends) {
        inside.append(draw("path", {
          d: `M${x.toFixed(1)} ${py(p.low[i]).toFixed(1)}V${py(p.high[i]).toFixed(1)}`,
          style: `stroke:${color};stroke-width:1;opacity:.7`,
        }));
        if (p.xlow && p.xlow[i] !== null) {
          inside.append(draw("path", {
            d: `M${px(p.xlow[i]).toFixed(1)} ${y.toFixed(1)}H${px(p.xhigh[i]).toFixed(1)}`,
            style: `stroke:${color};stroke-width:1;opacity:.7`,
          }));
        }
      }
    }
    if (joined) inside.append(draw("path", { d, ...lineOf(look) }));
    // markers on a few points of a long line, each loss with its own offset, for grey print
    const every = chart.kind === "band" ? Math.max(1, Math.floor(own.length / 4)) : 1;
    own.forEach(({ i, x, y }, at) => {
      if (at % every !== place % every) return;
      const end = chart.kind !== "trail" || at === own.length - 1;
      inside.append(mark(look, x, y, end ? 3.6 : 1.2, chart.kind !== "band" && p.missing[i] > 0));
    });
  }
  function interact(svg, chart, panel, series, points) {
    const ring = draw("circle", { r: 7, class: "focus", visibility: "hidden" });
    svg.append(ring);
    let at = -1;
    const textOf = ({ i, s }) => {
      const p = chart.points, unit = chart.unit, x = p.shown?.[i] ?? format(p.x[i], "");
      const category = chart.categories ? panel.xticks.find(([value]) => value === p.x[i])?.[1] : null;
      const interval = p.low[i] === null ? "no interval" :
        `95% interval ${format(p.low[i], unit)} to ${format(p.high[i], unit)}`;
      return [
        `${series[s].name}${panel.title ? `, ${panel.title}` : ""}`,
        `${panel.xlabel}: ${category ?? x}`,
        `${format(p.y[i], unit)}${unit === "%" ? "%" : unit ? ` ${unit}` : ""}, ${interval}`,
        `${seedsInWords(p.k[i])}${p.missing[i] ? `, ${p.missing[i]} missing` : ""}` +
          (p.k[i] === 2 ? ", too few for a t interval" : ""),
      ].join("\n");
    };
    function go(point, x, y) {
      at = points.indexOf(point);
      ring.setAttribute("cx", point.x);
      ring.setAttribute("cy", point.y);
      ring.setAttribute("visibility", "visible");
      showTip(textOf(point), x, y);
    }
    function leave() { at = -1; ring.setAttribute("visibility", "hidden"); hideTip(); }
    function nearest(event) {
      const box = svg.getBoundingClientRect(), scale = W / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      let best = null, least = 26 ** 2;
      for (const point of points) {
        const far = (point.x - x) ** 2 + (point.y - y) ** 2;
        if (far < least) { least = far; best = point; }
      }
      return best;
    }
    const open = point => {
      const { i, s } = point, p = chart.points;
      if (p.cells) openList(`${series[s].name}, ${panel.xlabel} ${p.shown[i]}`, p.cells[i]);
      else openCells(chart.experiment, s, p.n[i]);
    };
    svg.addEventListener("pointermove", event => {
      const point = nearest(event);
      if (point) go(point, event.clientX, event.clientY); else leave();
      svg.style.cursor = point ? "pointer" : "";
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("click", event => { const point = nearest(event); if (point) open(point); });
    svg.addEventListener("keydown", event => {
      if (event.key === "Enter" && at >= 0) {
        event.preventDefault();  // or Enter would press the dialog's first button, Close
        open(points[at]);
        return;
      }
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const line = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!points.length || (!step && !line)) return;
      event.preventDefault();
      let next = at < 0 ? 0 : at + (step ?? 0);
      if (line && at >= 0) {
        const of = [...new Set(points.map(point => point.s))];
        const s = of[(of.indexOf(points[at].s) + line + of.length) % of.length];
        const x = points[at].x;
        next = points.indexOf(points.filter(point => point.s === s)
          .sort((a, b) => Math.abs(a.x - x) - Math.abs(b.x - x))[0]);
      }
      const point = points[(next + points.length) % points.length];
      const box = svg.getBoundingClientRect(), scale = box.width / W;
      go(point, box.left + point.x * scale, box.top + point.y * scale);
      $("said").textContent = textOf(point).replaceAll("\n", ". ");
    });
  }

  // ---- cells --------------------------------------------------------------------------------
  const dialog = $("cells");
  $("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });

  async function openCells(e, v, n) {
    hideTip();
    if (!holds("cells")) return openList(board.variants[v].name, []);
    await withCells();
    return openList(`${board.variants[v].name}, noise ${board.noises[n]}: ${board.experiments[e].title}`,
      cellsAt.get(key(e, v, n)) ?? []);
  }
  async function openList(title, list) {
    hideTip();
    $("cells-title").textContent = title;
    const body = $("cells-body");
    body.replaceChildren(el("p", { class: "hint" }, holds("cells") ?
      "The cells behind this number. Open one for its config, curves, last evaluations and samples." :
      "The cells are not inside this page: see cells.csv."));
    if (!dialog.open) dialog.showModal();
    if (!holds("cells")) return;
    await withCells();
    const shown = list.filter(cell => !state.seeds.has(cells.s[cell]));
    for (const cell of shown.slice(0, MOST_CELLS)) body.append(cellNode(cell));
    if (shown.length > MOST_CELLS) {
      body.append(el("p", { class: "hint" }, `And ${shown.length - MOST_CELLS} more, in cells.csv.`));
    }
    if (!shown.length) body.append(el("p", {}, "No complete cell."));
  }
  // value of each metric at the last and, if it differs, at the chosen epoch
  function valuesOf(cell) {
    const found = [];
    for (const m of metricsOf(cells.e[cell])) {
      const metric = board.metrics[m], unit = metric.unit === "%" ? "%" : "";
      const [last, chosen] = [0, 1].map(w => cells.values[`${m}.${w}`]?.[cell] ?? null);
      if (last === null && chosen === null) continue;
      const other = chosen !== null && chosen !== last ? `, ${format(chosen, metric.unit)}${unit} at the chosen epoch` : "";
      found.push([metric.label, `${last === null ? "none" : format(last, metric.unit) + unit}${other}`]);
    }
    return found;
  }
  function cellNode(cell) {
    const values = valuesOf(cell), main = values[0] ? `: ${values[0].join(" ")}` : "";
    const name = `${board.variants[cells.v[cell]].name}, noise ${board.noises[cells.n[cell]]}, seed ${board.seeds[cells.s[cell]]}`;
    const made = el("details", { class: "cell" }, el("summary", {}, name + main));
    made.addEventListener("toggle", () => { if (made.open && made.children.length === 1) fill(made, cell); });
    return made;
  }
  async function fill(node, cell) {
    const name = `details-${cells.e[cell]}-${cells.v[cell]}-${cells.n[cell]}`;
    const found = holds(name) ? (await unpacked(name))[cell] : null;
    const inside = el("div");
    const values = valuesOf(cell).slice(1);
    if (values.length) inside.append(el("ul", { class: "values" }, ...values.map(([label, text]) => el("li", {}, `${label} ${text}`))));
    if (found) {
      inside.append(el("p", {}, el("code", {}, found.folder), el("br"), found.made));
      if (found.curves.length) inside.append(el("h4", {}, "Along training"), curvesNode(found.curves));
      if (found.samples.length) {
        inside.append(el("h4", {}, "Samples at the last epoch"));
        for (const sample of found.samples) inside.append(sampleNode(sample));
      }
      inside.append(folding("Config", el("ul", { class: "config" }, ...Object.entries(found.config).map(
        ([setting, value]) => el("li", {}, el("b", {}, setting), ` ${value}`)))));
      if (found.log.length) inside.append(folding("Last evaluations (metrics.jsonl)", el("pre", {}, found.log.join("\n"))));
    } else {
      inside.append(el("p", { class: "hint" }, cells.folders.length ?
        `Its details are not inside this page: see the run folder that ends in ${cells.folders[cell]}.` :
        "Redrawn from CSVs: its details are in its run folder."));
    }
    node.append(inside);
  }
  const folding = (title, content) => el("details", {}, el("summary", {}, title), content);
  function curvesNode(curves) {
    const grid = el("div", { class: "panels" });
    for (const { label, x, y } of curves) {
      const known = y.map((value, at) => [x[at], value]).filter(([, value]) => value !== null);
      const values = known.map(([, value]) => value);
      const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
      const panel = {
        x: [Math.min(...x), Math.max(...x)], y: [low - room, high + room], xlabel: "Epoch", title: label,
        xticks: [x[0], x[x.length - 1]].map(value => [value, String(value)]),
        yticks: [...new Set([low, high])].map(value => [value, String(Number(value.toPrecision(3)))]),
      };
      const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${label}: from ${values[0]} to ${values[values.length - 1]}` });
      const px = value => LEFT + (value - panel.x[0]) / (panel.x[1] - panel.x[0] || 1) * (W - LEFT - RIGHT);
      const py = value => H - BOTTOM - (value - panel.y[0]) / (panel.y[1] - panel.y[0]) * (H - TOP - BOTTOM);
      axes(svg, panel, px, py);
      svg.append(draw("path", {
        d: known.map(([a, b], at) => `${at ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join(""),
        style: "stroke:var(--mark);stroke-width:1.8;fill:none",
      }));
      grid.append(el("div", { class: "panel" }, el("h4", {}, label), svg));
    }
    return grid;
  }
  function textNode(text, role) {
    const node = el("div", { class: "text", dir: "auto" });
    node.textContent = text || "(empty)";
    const made = el("div", {}, ...(role ? [el("p", { class: "role" }, role)] : []), node);
    if (text.length > 420 || text.split("\n").length > 7) {
      node.classList.add("folded");
      const button = el("button", { type: "button", class: "fold", "aria-expanded": "false" }, "Show all");
      button.addEventListener("click", () => {
        const folded = node.classList.toggle("folded");
        button.textContent = folded ? "Show all" : "Show less";
        button.setAttribute("aria-expanded", String(!folded));
      });
      made.append(button);
    }
    return made;
  }
  function sampleNode(sample) {
    const made = el("div", { class: "sample" });
    const turns = sample.prompt.map(([role, text]) => textNode(text, role || "prompt"));
    const last = turns.pop();
    if (turns.length) made.append(folding(turns.length === 1 ? "1 earlier turn" : `${turns.length} earlier turns`, el("div", {}, ...turns)));
    if (last) made.append(last);
    const answers = el("div", { class: "answers" });
    for (const [whose, text] of Object.entries(sample.answers)) answers.append(textNode(text, whose));
    made.append(answers);
    const verdicts = Object.entries(sample.verdicts).map(([judge, verdict]) => `${judge}: ${verdict}`);
    if (verdicts.length) made.append(el("p", { class: "role" }, `Verdicts on the policy: ${verdicts.join("; ")}`));
    return made;
  }

  for (const node of document.querySelectorAll("[data-tip]")) explained(node, node.dataset.tip);

  // ---- downloads ----------------------------------------------------------------------------
  for (const link of document.querySelectorAll("a[download]")) {
    const name = link.getAttribute("href");
    if (!holds(`file-${name}`)) { link.title = "beside this page"; continue; }
    link.addEventListener("click", async event => {
      if (link.href.startsWith("blob:")) return;
      event.preventDefault();
      link.setAttribute("download", name);
      link.href = URL.createObjectURL(new Blob([await bytes(`file-${name}`)]));
      link.click();
    });
  }

  let drawnFor = "";
  function renderFigures() {
    // figures follow the filters, not the order or the baseline of the leaderboard
    const now = JSON.stringify([state.at, [...state.losses], [...state.noises], dark.matches]);
    if (now === drawnFor) return;
    drawnFor = now;
    const shown = new Set(shownExperiments().map(String));
    for (const figure of document.querySelectorAll("#figures figure")) {
      figure.hidden = "experiment" in figure.dataset && !shown.has(figure.dataset.experiment);
      stale.add(figure);
      if (inView.has(figure) && !figure.hidden) drawFigure(figure);
    }
  }

  // ---- updates ------------------------------------------------------------------------------
  async function update(focus = "") {
    hideTip();
    const begun = performance.now();
    if (state.seeds.size && holds("cells")) await withCells();
    press();
    renderBoard();
    if (focus) document.querySelector(focus)?.focus();
    renderFigures();
    document.body.dataset.updated = (performance.now() - begun).toFixed(1);
  }
  async function begin() {
    if (!holds("board")) {
      $("board-hint").textContent = "The numbers are too many for this page: see summary.csv.";
      return;
    }
    board = await unpacked("board");
    index();
    buildFilters();
    await update();
    for (const figure of document.querySelectorAll("#figures figure")) watcher.observe(figure);
    dark.addEventListener("change", () => update());
    document.body.dataset.ready = performance.now().toFixed(0);
  }
  begin();
})();
