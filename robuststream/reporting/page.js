"use strict";
// The report's page: draws what stands in #data. No libraries, no requests; text enters as text nodes only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const state = {
  currency: DATA.headline[1], rung: DATA.headline[0], scenario: "", upward: "", close: false, filter: "",
  shown: new Set(DATA.samplers.map((sampler) => sampler.label)), sort: null,
};
const place = new Map(DATA.samplers.map((sampler, i) => [sampler.label, i]));
const color = (label) => `var(--s${place.get(label)})`;
const hollow = (label) => DATA.samplers[place.get(label)].placebo;
const worlds = () => DATA.scenarios.filter((world) => !state.scenario || world.label === state.scenario);
const visible = (row) => state.shown.has(row.sampler) && (!state.scenario || row.scenario === state.scenario);

// Elements

function make(space, tag, attributes, kids) {
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...kids.flat().filter((kid) => kid !== null));
  return node;
}
const html = (tag, attributes = {}, ...kids) => make(null, tag, attributes, kids);
const svg = (tag, attributes = {}, ...kids) => make("http://www.w3.org/2000/svg", tag, attributes, kids);

// Numbers, printed as report.md prints them

const signed = (value) => (value < 0 ? "" : "+") + value.toFixed(2);
const times = (value) => value.toFixed(2);
const ends = (found, form) => (found[1] === null ? "" : ` [${form(found[1])}, ${form(found[2])}]`);
const chance = (p) => (p < 0.001 ? "< .001" : p < 1 ? p.toFixed(3).replace(/^0/, "") : "1");
const upward = (cell) => (state.upward === "" ? cell.gap : cell.robust[state.upward]?.gap) ?? null; // of the plane: gap to uniform
const accuracy = () => (state.upward === "" ? "test accuracy" : DATA.robust[state.upward]);
const speedOf = (cell) => cell.speed[`${state.rung} ${state.currency}`] ?? null;
const side = (found, none) => (found[1] === null ? "" : found[1] > none ? "good" : found[2] < none ? "bad" : "");

function quantity(value) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1e6) return value.toExponential(1).replace("+", "");
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en").replaceAll(",", " ") : String(+value.toPrecision(3));
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k++) found.push(+(k * step).toPrecision(12));
  return found;
}

// A frame with axes: scale functions, and the group to draw in

function frame(width, height, x, y, label) {
  const pad = { left: 44, right: 10, top: 8, bottom: 36 };
  const px = (v) => pad.left + ((x.of(v) - x.of(x.low)) / (x.of(x.high) - x.of(x.low))) * (width - pad.left - pad.right);
  const py = (v) => height - pad.bottom - ((y.of(v) - y.of(y.low)) / (y.of(y.high) - y.of(y.low))) * (height - pad.top - pad.bottom);
  const [left, right, top, bottom] = [pad.left, width - pad.right, pad.top, height - pad.bottom];
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
  for (const v of y.ticks) root.append(
    svg("line", { class: v === y.one ? "one" : "grid", x1: left, x2: right, y1: py(v), y2: py(v) }),
    svg("text", { x: left - 6, y: py(v) + 4, "text-anchor": "end" }, y.form(v)));
  for (const v of x.ticks) root.append(
    svg("line", { class: v === x.one ? "one" : "grid", x1: px(v), x2: px(v), y1: top, y2: bottom }),
    svg("text", { x: px(v), y: bottom + 15, "text-anchor": "middle" }, x.form(v)));
  root.append(svg("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, x.label));
  return { root, px, py, left, right, top, bottom };
}

// Curves

function panel(world, width) {
  const lines = DATA.curves[state.currency].filter((line) => line.scenario === world.label && state.shown.has(line.sampler));
  const everywhere = DATA.curves[state.currency].filter((line) => !state.scenario || line.scenario === state.scenario);
  const box = html("figure", {}, html("figcaption", {}, world.label));
  if (!lines.length) return box.append(html("p", { class: "note" }, "no curve")), box;
  const values = everywhere.flatMap((line) => [...line.low, ...line.high]);
  const floor = Math.min(...DATA.scenarios.flatMap((each) => Object.values(each.targets)));
  const low = state.close && isFinite(floor) ? floor : Math.min(...values);
  const y = { low, high: Math.min(100, Math.max(...values)), of: (v) => v, form: String };
  y.ticks = ticks(y.low, y.high, 5);
  const x = { low: 0, high: Math.max(...everywhere.flatMap((line) => line.x)), of: (v) => v, form: quantity };
  x.ticks = ticks(0, x.high, width < 420 ? 4 : 5);
  x.label = DATA.currencies.find((currency) => currency.key === state.currency).axis;
  const drawn = frame(width, 250, x, y, `validation accuracy in per cent against ${x.label}, ${world.label}; arrow keys read values`);
  const clip = `clip${DATA.scenarios.indexOf(world)}`;
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  drawn.root.append(svg("clipPath", { id: clip }, svg("rect", {
    x: drawn.left, y: drawn.top, width: drawn.right - drawn.left, height: drawn.bottom - drawn.top })), inside);
  const path = (xs, ys) => xs.map((v, i) => `${drawn.px(v).toFixed(1)},${drawn.py(ys[i]).toFixed(1)}`).join(" ");
  for (const line of lines) inside.append(svg("polygon", { class: "band", style: `fill:${color(line.sampler)}`,
    points: `${path(line.x, line.low)} ${path([...line.x].reverse(), [...line.high].reverse())}` }));
  for (const line of lines) inside.append(svg("polyline", { class: "curve", points: path(line.x, line.mean),
    style: `stroke:${color(line.sampler)}`, "stroke-dasharray": DATA.samplers[place.get(line.sampler)].dash || null }));
  const target = world.targets[state.rung];
  if (target) inside.append(svg("line", { class: "one", x1: drawn.left, x2: drawn.right, y1: drawn.py(target), y2: drawn.py(target) }));
  readable(drawn, lines, x, world);
  box.append(drawn.root);
  return box;
}

function value(line, cost) {
  const i = line.x.findIndex((v) => v >= cost);
  if (i < 0 || cost < line.x[0]) return null;
  const share = i === 0 ? 0 : (cost - line.x[i - 1]) / (line.x[i] - line.x[i - 1]);
  return ["mean", "low", "high"].map((part) => (i === 0 ? line[part][0] : line[part][i - 1] + share * (line[part][i] - line[part][i - 1])));
}

function readable(drawn, lines, x, world) {
  const cursor = svg("line", { class: "cursor", y1: drawn.top, y2: drawn.bottom, visibility: "hidden" });
  drawn.root.append(cursor);
  let cost = x.high / 2;
  const show = (where) => {
    cost = Math.min(x.high, Math.max(0, where));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, drawn.px(cost));
    cursor.setAttribute("visibility", "visible");
    const rows = lines.map((line) => [line.sampler, value(line, cost)]).filter((row) => row[1]).sort((a, b) => b[1][0] - a[1][0]);
    tip(drawn.root, drawn.px(cost), `${quantity(cost)}, ${x.label}`, rows.map(([label, found]) =>
      [label, `${found[0].toFixed(1)} %`, `[${found[1].toFixed(1)}, ${found[2].toFixed(1)}]`]));
    return rows;
  };
  const hide = () => { cursor.setAttribute("visibility", "hidden"); at("tip").hidden = true; };
  const width = drawn.right - drawn.left;
  drawn.root.setAttribute("tabindex", "0");
  drawn.root.addEventListener("pointermove", (event) => {
    const box = drawn.root.getBoundingClientRect();
    show((event.clientX - box.left - drawn.left) / width * x.high);
  });
  drawn.root.addEventListener("pointerleave", hide);
  drawn.root.addEventListener("blur", hide);
  drawn.root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const rows = show(cost + step * x.high);
    at("reader").textContent = `${world.label}, ${quantity(cost)} ${x.label}: ` + rows.map((row) => `${row[0]} ${row[1][0].toFixed(1)} %`).join(", ");
  });
}

function tip(root, x, title, rows) {
  const box = root.getBoundingClientRect(), node = at("tip");
  node.replaceChildren(html("strong", {}, title), html("table", {}, html("tbody", {}, rows.map(([label, ...cells]) =>
    html("tr", {}, html("td", {}, swatch(label)), html("td", {}, label), cells.map((cell) => html("td", {}, cell)))))));
  node.hidden = false;
  const left = box.left + x + 14, flip = left + node.offsetWidth > innerWidth - 8;
  node.style.left = `${Math.max(6, scrollX + (flip ? box.left + x - 14 - node.offsetWidth : left))}px`;
  node.style.top = `${scrollY + box.top + 8}px`;
}

const swatch = (label) => svg("svg", { class: "swatch", viewBox: "0 0 22 6", "aria-hidden": "true", style: "width:22px" },
  svg("line", { x1: 0, x2: 22, y1: 3, y2: 3, "stroke-width": 3, style: `stroke:${color(label)}`,
    "stroke-dasharray": DATA.samplers[place.get(label)].dash || null }));

// The plane: speed-up (logarithmic) by gap in points (logarithmic away from zero)

const SHAPES = ["M0-5.5A5.5 5.5 0 1 0 0 5.5A5.5 5.5 0 1 0 0-5.5Z", "M-5-5H5V5H-5Z", "M0-6.5L6 5H-6Z", "M0-7L7 0L0 7L-7 0Z", "M0 6.5L6-5H-6Z",
  "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z"];

function plane() {
  const host = at("plane"), cells = DATA.cells.filter((cell) => upward(cell) && visible(cell));
  if (!cells.length) return host.replaceChildren(html("p", { class: "note" }, "nothing to compare with uniform here"));
  const speeds = cells.map(speedOf).filter(Boolean).flat().filter((v) => v), gaps = cells.flatMap(upward).filter((v) => v !== null);
  const bend = (v) => Math.sign(v) * Math.log2(1 + Math.abs(v));
  const x = { low: Math.min(0.8, ...speeds), high: Math.max(1.25, ...speeds) * 1.05, of: Math.log2, one: 1, form: (v) => `${v}×` };
  x.low /= (x.high / x.low) ** 0.12; // room for the shelf of those without a speed-up
  const wide = x.high / x.low > 8;
  x.ticks = [0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8, 16, 32].filter((v) =>
    v > x.low * (x.high / x.low) ** 0.1 && v < x.high && !(wide && [0.75, 1.5, 3].includes(v)));
  x.label = `speed-up to ${state.rung} in ${DATA.currencies.find((currency) => currency.key === state.currency).name}`;
  const y = { low: Math.min(-1, ...gaps) * 1.1, high: Math.max(1, ...gaps) * 1.15, of: bend, one: 0, form: (v) => (v > 0 ? `+${v}` : String(v)) };
  y.ticks = [-60, -30, -15, -7, -3, -1, 0, 1, 3, 7, 15, 30, 60].filter((v) => v >= y.low && v <= y.high);
  const width = host.clientWidth || 360;
  const drawn = frame(width - 20, width < 500 ? 320 : 380, x, y, `${x.label}, by gap in ${accuracy()} in points; every point can be focused`);
  drawn.root.setAttribute("role", "group");
  drawn.root.append(svg("rect", { class: "shelf", x: drawn.left, y: drawn.top, width: 20, height: drawn.bottom - drawn.top }),
    svg("text", { x: drawn.left + 10, y: drawn.bottom + 15, "text-anchor": "middle" }, "none"),
    svg("text", { x: drawn.left + 28, y: drawn.top + 12 }, `↑ points of ${accuracy()} above uniform`));
  for (const world of worlds()) drawn.root.append(front(cells.filter((cell) => cell.scenario === world.label), drawn));
  for (const cell of cells) drawn.root.append(point(cell, drawn, x));
  const keys = worlds().length > 1 ? html("p", { class: "note" }, worlds().map((world) => html("span", { style: "margin-right:16px;white-space:nowrap" },
    svg("svg", { viewBox: "-8 -8 16 16", style: "width:13px;display:inline;vertical-align:-2px;fill:currentColor", "aria-hidden": "true" },
      svg("path", { d: shape(world.label) })), ` ${world.label}`))) : null;
  host.replaceChildren(html("figure", {}, drawn.root, keys ?? ""));
}

function front(cells, drawn) {
  const found = [[1, 0], ...cells.filter(speedOf).map((cell) => [speedOf(cell)[0], upward(cell)[0]])]; // uniform first
  const beaten = ([x, y]) => found.some(([u, v]) => u >= x && v >= y && (u > x || v > y));
  const best = found.filter((one) => !beaten(one)).sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  return svg("polyline", { class: "front", points: best.map(([x, y]) => `${drawn.px(x).toFixed(1)},${drawn.py(y).toFixed(1)}`).join(" ") });
}

const shape = (world) => SHAPES[DATA.scenarios.findIndex((each) => each.label === world) % SHAPES.length];

function point(cell, drawn, x) {
  const speed = speedOf(cell), up = upward(cell), px = speed ? drawn.px(speed[0]) : drawn.left + 10, py = drawn.py(up[0]);
  const found = [speed ? `${times(speed[0])}×${ends(speed, times)}` : "no speed-up", `${signed(up[0])}${ends(up, signed)} points`];
  if (state.upward !== "") found.push(`${cell.robust[state.upward].share[0].toFixed(1)} % stand every attack`);
  const told = `${cell.sampler} in ${cell.scenario}: ${speed ? "speed-up " : ""}${found[0]}, gap ${found.slice(1).join(", ")}`;
  const bar = (a, b, c, d) => svg("line", { class: "whisker", x1: a, x2: b, y1: c, y2: d, style: `stroke:${color(cell.sampler)}` });
  const show = () => tip(drawn.root, px, cell.scenario, found.map((line) => [cell.sampler, line]));
  const hide = () => { at("tip").hidden = true; };
  const open = () => details(cell);
  return svg("g", {},
    speed && speed[1] !== null ? bar(drawn.px(speed[1]), drawn.px(speed[2]), py, py) : "",
    up[1] !== null ? bar(px, px, drawn.py(up[1]), drawn.py(up[2])) : "",
    svg("path", { class: "point", d: shape(cell.scenario), transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})`, tabindex: "0", role: "button",
      "aria-label": told, style: hollow(cell.sampler) ? `fill:var(--card);stroke:${color(cell.sampler)};stroke-width:2` : `fill:${color(cell.sampler)}`, onpointerenter: show, onpointerleave: hide, onfocus: show, onblur: hide, onclick: open,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); } } }));
}

// The table

const flagged = (cell, what) => cell.doubts[what].map((number) => ` ⚑${number}`).join("");
const withEnds = (found, form, unit, none) => html("span", { class: side(found, none) }, `${form(found[0])}${unit}`,
  html("span", { class: "ends" }, ends(found, form)));

function columns() {
  const currency = DATA.currencies.find((each) => each.key === state.currency), money = currency.key === "seconds" ? "seconds" : "speed-up";
  return [
    { key: "sampler", name: "sampler", text: true, sort: (cell) => place.get(cell.sampler),
      show: (cell) => html("button", { type: "button", onclick: () => details(cell), "aria-haspopup": "dialog" }, swatch(cell.sampler), cell.sampler) },
    { key: "scenario", name: "scenario", text: true, sort: (cell) => DATA.scenarios.findIndex((world) => world.label === cell.scenario), show: (cell) => cell.scenario },
    { key: "runs", name: "runs", sort: (cell) => cell.runs[0], show: (cell) => (cell.runs[0] === cell.runs[1] ? cell.runs[0] : cell.runs.join(" of ")) },
    { key: "test", name: "test accuracy, %", sort: (cell) => cell.test && cell.test[0],
      show: (cell) => cell.test && cell.test[0].toFixed(2) + (cell.test[1] === null ? "" : ` ± ${cell.test[1].toFixed(2)}`) + flagged(cell, "accuracy") },
    { key: "gap", name: "gap, points", sort: (cell) => cell.gap && cell.gap[0], show: (cell) => cell.gap && withEnds(cell.gap, signed, "", 0) },
    { key: "p", name: "p (gap)", sort: (cell) => cell.p, show: (cell) => (cell.p === null ? null : chance(cell.p)) },
    { key: "speed", name: `speed-up to ${state.rung}, ${currency.name}`, sort: (cell) => speedOf(cell) && speedOf(cell)[0],
      show: (cell) => speedOf(cell) && html("span", {}, withEnds(speedOf(cell), times, "×", 1), flagged(cell, money)) },
    { key: "reach", name: `reached ${state.rung}`, sort: (cell) => (cell.reach[state.rung] ? cell.reach[state.rung][0] / cell.reach[state.rung][1] : null),
      show: (cell) => cell.reach[state.rung] && cell.reach[state.rung].join(" of ") },
    { key: "cost", name: `mean cost to ${state.rung}, % budget`, sort: (cell) => cell.cost[state.rung] && cell.cost[state.rung][0],
      show: (cell) => cell.cost[state.rung] && withEnds(cell.cost[state.rung], (v) => v.toFixed(0), "", NaN) },
  ];
}

function table() {
  const all = columns(), words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = DATA.cells.filter((cell) => visible(cell) && words.every((word) => `${cell.sampler} ${cell.scenario}`.toLowerCase().includes(word)));
  const by = state.sort && all.find((column) => column.key === state.sort.key);
  if (by) rows.sort((a, b) => {
    const [u, v] = [by.sort(a) ?? null, by.sort(b) ?? null];
    return u === null || v === null ? (u === null) - (v === null) : state.sort.down ? v - u : u - v;
  });
  const head = all.map((column) => {
    const sorted = state.sort && state.sort.key === column.key ? (state.sort.down ? "descending" : "ascending") : "none";
    return html("th", { scope: "col", class: `${column.text ? "text" : ""} ${column.key === "sampler" ? "pinned" : ""}`, "aria-sort": sorted },
      html("button", { type: "button", "data-key": column.key, onclick: () => sortBy(column) },
        column.name + { none: "", ascending: " ▲", descending: " ▼" }[sorted]));
  });
  const body = rows.map((cell) => html("tr", {}, all.map((column) => html(column.key === "sampler" ? "th" : "td",
    { class: `${column.text ? "text" : ""} ${column.key === "sampler" ? "pinned" : ""}`, scope: column.key === "sampler" ? "row" : null },
    column.show(cell) ?? (cell.gap ? "–" : ["gap", "speed"].includes(column.key) && cell.test ? "baseline" : "–")))));
  at("table").replaceChildren(html("thead", {}, html("tr", {}, head)), html("tbody", {}, body));
  at("status").textContent = `${rows.length} of ${DATA.cells.length} rows`;
}

function sortBy(column) {
  const down = state.sort && state.sort.key === column.key ? !state.sort.down : !column.text;
  state.sort = { key: column.key, down };
  table();
  at("table").querySelector(`[data-key="${column.key}"]`).focus();
}

// Settings and figures of one run

function details(cell) {
  const runs = DATA.runs.filter((run) => run.sampler === cell.sampler && run.scenario === cell.scenario);
  at("details-title").textContent = `${cell.sampler} in ${cell.scenario}`;
  at("run").replaceChildren(...runs.map((run, i) => html("option", { value: i }, `seed ${run.seed}`)));
  at("run").onchange = () => facts(cell, runs[+at("run").value]);
  facts(cell, runs[0]);
  at("tip").hidden = true;
  at("details").showModal();
}

function facts(cell, run) {
  const sampler = DATA.samplers[place.get(cell.sampler)], world = DATA.scenarios.find((each) => each.label === cell.scenario);
  const figures = run ? DATA.fact_names.map((name, i) => [name, run.facts[i]]).filter((pair) => pair[1] !== null) : [];
  const parts = [[`sampler: ${sampler.kind}`, sampler.settings], [`scenario: ${world.kind}`, world.settings], ["recipe", DATA.recipe], ["as it ran", figures]];
  at("facts").replaceChildren(html("tbody", {}, parts.filter((part) => part[1].length).flatMap(([title, pairs]) => [
    html("tr", {}, html("th", { class: "part", colspan: "2", scope: "colgroup" }, title)),
    ...pairs.map(([key, found]) => html("tr", {}, html("th", { scope: "row" }, key), html("td", {}, String(found))))])));
}

// Controls

function draw() {
  const shown = worlds(), host = at("curves");
  const across = Math.max(1, Math.min(shown.length, Math.floor((host.clientWidth + 16) / 336)));
  const width = Math.max(280, (host.clientWidth - 16 * (across - 1)) / across - 22);
  host.replaceChildren(...shown.map((world) => panel(world, width)));
  plane();
  table();
}

function controls() {
  const pick = (id, key, options) => {
    at(id).append(...options.map(([value, name]) => html("option", { value }, name)));
    at(id).value = state[key];
    at(id).addEventListener("change", () => { state[key] = at(id).value; draw(); });
  };
  pick("rung", "rung", DATA.rungs.map((rung) => [rung, rung]));
  pick("scenario", "scenario", [["", "all"], ...DATA.scenarios.map((world) => [world.label, world.label])]);
  if (at("upward")) pick("upward", "upward", [["", "test accuracy"], ...DATA.robust.map((name, i) => [String(i), name])]);
  at("currency").append(...DATA.currencies.map((currency) => html("label", {}, html("input", { type: "radio", name: "currency", value: currency.key,
    checked: currency.key === state.currency, onchange: () => { state.currency = currency.key; draw(); } }), currency.name)));
  at("samplers").append(...DATA.samplers.map((sampler) => html("label", {}, html("input", { type: "checkbox", checked: true, value: sampler.label,
    onchange: (event) => { state.shown[event.target.checked ? "add" : "delete"](sampler.label); draw(); } }), swatch(sampler.label), sampler.label)));
  at("close").addEventListener("change", () => { state.close = at("close").checked; draw(); });
  at("filter").addEventListener("input", () => { state.filter = at("filter").value; table(); });
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  at("shut").addEventListener("click", () => at("details").close());
  at("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
  });
  let before = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== before) { before = innerWidth; draw(); } });
}

DATA.samplers.forEach((sampler, i) => document.documentElement.style.setProperty(`--s${i}`,
  sampler.color ? `light-dark(${sampler.color}, color-mix(in oklab, ${sampler.color} 68%, white))` : "var(--ink)"));
controls();
draw();
