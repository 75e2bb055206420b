// Draws each plot from the table beside it, filters the grid, copies commands. Plot is Observable Plot.
"use strict";

const COLOURS = ["var(--blue)", "var(--orange)", "var(--green)", "var(--purple)", "var(--sky)", "var(--grey)"];
const SYMBOLS = ["circle", "triangle", "square", "diamond2", "star", "times"];
const GLYPHS = ["\u25cf", "\u25b2", "\u25a0", "\u25c6", "\u2605", "\u2715"];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];
const LINES = ["\u2500\u2500", "\u2504\u2504", "\u00b7\u00b7\u00b7", "\u2500\u00b7\u2500", "- -", "\u00b7 \u00b7"];
const NARROW = 520; // pixels: names below the axis are turned
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Reads a table: the names of its columns, and its rows as arrays of text. */
function tableOf(figure) {
  const table = figure.querySelector("table");
  return {
    columns: all("thead th", table).map((cell) => cell.textContent),
    rows: [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
  };
}

/** Reads a number; NaN for what is none, which no plot draws. */
const number = (text) => (text.trim() === "" ? NaN : Number(text));

/** Picks columns by name, as objects; those in `numeric` as numbers. */
function picked({ columns, rows }, names, numeric) {
  return rows.map((row) =>
    Object.fromEntries(names.map((name) => {
      const text = row[columns.indexOf(name)] ?? "";
      return [name, numeric.includes(name) ? number(text) : text];
    })),
  );
}

const finite = (rows, ...names) => rows.filter((row) => names.every((name) => Number.isFinite(row[name])));
const distinct = (values) => [...new Set(values)];
const rules = (found = []) => found.filter((rule) => Number.isFinite(rule.at));

/** Lines across a plot with their names, such as chance or a margin. */
function ruled(found, axis) {
  const marks = rules(found);
  const rule = axis === "y" ? Plot.ruleY : Plot.ruleX;
  const place = axis === "y" ? { y: "at", frameAnchor: "right", textAnchor: "end" } : { x: "at", frameAnchor: "top", dx: 3, textAnchor: "start" };
  const named = (below) => Plot.text(marks.filter((mark) => Boolean(mark.below) === below), { ...place, ...(axis === "y" ? { dy: below ? 7 : -6 } : below ? { dx: -3, textAnchor: "end" } : {}), text: "label", fill: "var(--dim)" });
  return [rule(marks, { [axis]: "at", stroke: "var(--dim)", strokeDasharray: "4 3" }), named(false), named(true)];
}

/** How names below the axis are written where there are many, or little room. */
function named(values, width) {
  const longest = Math.max(0, ...values.map((value) => value.length));
  const turned = longest * 6.5 * values.length > width - 60 || (width < NARROW && values.length > 4);
  return turned ? { tickRotate: -40, margin: Math.min(110, 24 + longest * 4.6) } : { tickRotate: 0, margin: 34 };
}

/** One point a row, names on the x axis, colours and symbols by series. */
function points(table, options, { width, y }) {
  const { series } = options;
  const rows = finite(picked(table, distinct([options.x, y, ...(series ? [series] : []), table.columns[0]]), [y]), y);
  const names = distinct(table.rows.map((row) => row[table.columns.indexOf(options.x)]));
  const groups = series ? distinct(rows.map((row) => row[series])) : [];
  const style = named(names, width);
  const place = (row) => Math.max(0, groups.indexOf(row[series])) % COLOURS.length;
  return {
    legend: groups.map((name, index) => [GLYPHS[index % GLYPHS.length], name, index]),
    marginLeft: 56, marginBottom: style.margin,
    x: { type: "point", domain: names, tickRotate: style.tickRotate, label: null, padding: 0.6 },
    y: { label: options.label ?? y, grid: true, nice: true },
    marks: [
      ...ruled(options.rules, "y"),
      Plot.dot(rows, { x: options.x, y, r: 4, fill: (row) => COLOURS[place(row)], symbol: (row) => SYMBOLS[place(row)],
        fillOpacity: 0.75, title: (row) => `${row[table.columns[0]]}: ${row[y]}` }),
    ],
    symbol: { type: "identity" },
  };
}

/** One line a column over the first one named, with lines of another figure beside them. */
function lines(table, given, { width, y: group }) {
  const options = { ...given, ...given.groups?.[group] };
  const numeric = (name) => (options.names ? [name] : [options.x, name]);
  const read = (content, name) => finite(picked(content, [options.x, name], numeric(name)), ...numeric(name));
  const series = options.y.map((name) => ({ name, key: name, rows: read(table, name) }));
  const other = options.beside && document.getElementById(options.beside);
  if (other) {
    const content = tableOf(other);
    for (const name of options.y.filter((column) => content.columns.includes(column))) {
      series.push({ name: `${options.besideName}: ${name}`, key: name, rows: read(content, name) });
    }
  }
  const drawn = series.filter((line) => line.rows.length);
  const alone = drawn.every((line) => line.rows.length === 1);
  const dash = (index) => (index + Math.floor(index / COLOURS.length)) % DASHES.length;
  const names = options.names ? distinct(table.rows.map((row) => row[table.columns.indexOf(options.x)])) : [];
  const style = named(names, width);
  const x = options.names
    ? { type: "point", domain: names, tickRotate: style.tickRotate, label: null, padding: 0.4 }
    : { label: options.x, nice: true, ticks: width < NARROW ? 4 : undefined };
  return {
    legend: drawn.map((line, index) => [alone ? GLYPHS[index % GLYPHS.length] : LINES[dash(index)], line.name, index]),
    marginLeft: 56, marginBottom: options.names ? style.margin : 36,
    x,
    y: { label: options.label, grid: true, nice: true },
    marks: [
      ...ruled(options.rules, "y"),
      ...drawn.flatMap((line, index) => {
        const colour = COLOURS[index % COLOURS.length];
        const place = { x: options.x, y: line.key };
        return [
          Plot.line(line.rows, { ...place, stroke: colour, strokeWidth: 2, strokeDasharray: DASHES[dash(index)] }),
          ...(line.rows.length <= 20 ? [Plot.dot(line.rows, { ...place, fill: colour, r: 3, symbol: SYMBOLS[index % SYMBOLS.length] })] : []),
        ];
      }),
    ],
  };
}

/** A field of squares: the rows of the table by its columns; darker is more, marked is over the limit. */
function cells(table, options, { width, y: group }) {
  const prefix = options.groups?.[group]?.prefix ?? "";
  const columns = table.columns.slice(1).filter((name) => name.startsWith(prefix));
  const head = table.columns[0];
  const found = [];
  for (const row of table.rows) {
    for (const column of columns) {
      const text = row[table.columns.indexOf(column)] ?? "";
      if (text !== "") found.push({ row: row[0], column, text, value: number(text) });
    }
  }
  const size = (cell) => (Number.isFinite(cell.value) ? Math.abs(cell.value) : Infinity);
  const most = options.most ?? Math.max(1e-9, ...found.map(size).filter(Number.isFinite));
  const over = (cell) => options.limit !== undefined && !(size(cell) <= options.limit);
  const first = found.filter((cell) => options.first && cell.row === options.first[0] && cell.column === options.first[1]);
  const names = distinct(table.rows.map((row) => row[0]));
  const longest = Math.max(0, ...names.map((name) => name.length));
  const style = named(columns, width - Math.min(width * 0.4, longest * 6.2));
  return {
    legend: options.signed ? [["\u25a0", "more", 0], ["\u25a0", "less: a minus", 1]] : options.limit === undefined ? [] : [["\u25a0", "within its tolerance: stronger is nearer", 0], ["\u2715", "over it", 1], ...(first.length ? [["\u25a2", "first divergence", 1]] : [])],
    marginLeft: Math.min(width * 0.4, 16 + longest * 6.2), marginBottom: style.margin, padding: 0.08,
    x: { type: "band", domain: columns, tickRotate: style.tickRotate, label: null },
    y: { type: "band", domain: names, label: head, labelAnchor: "top" },
    marks: [
      Plot.cell(found, { x: "column", y: "row", fill: (cell) => COLOURS[over(cell) || (options.signed && cell.value < 0) ? 1 : 0],
        fillOpacity: (cell) => (over(cell) ? 0.9 : 0.06 + 0.94 * Math.min(1, size(cell) / most)),
        title: (cell) => `${cell.row}, ${cell.column}: ${cell.text}` }),
      ...(options.text ? [Plot.text(found, { x: "column", y: "row", text: "text", fill: "currentColor" })] : []),
      Plot.text(found.filter(over), { x: "column", y: "row", text: () => "\u2715", fill: "var(--paper)", fontWeight: 700 }),
      Plot.cell(first, { x: "column", y: "row", fill: "none", stroke: "currentColor", strokeWidth: 2.5 }),
    ],
    fixed: true,
  };
}

/** The seeds of both sides, of another table, on one axis with the difference, its interval and the margin. */
function estimate(table, { seeds, sides }, { width, y: metric }) {
  const rows = finite(picked(tableOf(document.getElementById(seeds)), ["run", "release", metric], [metric]), metric)
    .filter((row) => sides.includes(row.release));
  const numbers = table.columns.slice(1);
  const found = picked(table, ["metric", ...numbers], numbers).find((row) => row.metric === metric);
  const lane = "difference";
  const span = finite([{ lane, ...found }], "low", "high", "candidate");
  const marks = rules([{ at: found.baseline, label: "no difference" }, { at: found.margin, label: "margin", below: true }]);
  return {
    legend: [], marginLeft: Math.min(width * 0.36, 20 + 6.3 * Math.max(...[...sides, lane].map((name) => name.length))), marginBottom: 36, marginTop: 22,
    x: { label: metric, nice: true, ticks: width < NARROW ? 4 : undefined },
    y: { type: "point", domain: [...sides, lane], label: null, padding: 0.6 },
    marks: [
      ...ruled(marks, "x"),
      Plot.dot(rows, { x: metric, y: "release", r: 4.5, fill: (row) => COLOURS[sides.indexOf(row.release) % COLOURS.length],
        symbol: (row) => SYMBOLS[sides.indexOf(row.release) % SYMBOLS.length], fillOpacity: 0.75, title: (row) => `${row.run}: ${row[metric]}` }),
      Plot.link(span, { x1: "low", x2: "high", y1: "lane", y2: "lane", strokeWidth: 3 }),
      Plot.dot(span, { x: "candidate", y: "lane", r: 5.5, symbol: "diamond2", fill: "currentColor" }),
    ],
    symbol: { type: "identity" },
  };
}

const KINDS = { points, lines, cells, estimate };

/** Writes what each colour and symbol stands for. */
function legend(entries) {
  const line = document.createElement("p");
  line.className = "legend";
  for (const [glyph, name, index] of entries) {
    const key = document.createElement("span");
    const mark = document.createElement("b");
    mark.className = `k${index % COLOURS.length}`;
    mark.textContent = glyph;
    key.append(mark, ` ${name}`);
    line.append(key);
  }
  return line;
}

/** Draws one figure at the width that it has; where that fails the others are drawn all the same. */
function draw(figure) {
  try {
    plot(figure);
  } catch (error) {
    console.error(figure.id, error);
    figure.querySelector(".drawing").textContent = "This plot cannot be drawn: its numbers are below.";
  }
}

/** Draws one figure, unless it is drawn at this width already, or is not seen. */
function plot(figure) {
  const drawing = figure.querySelector(".drawing");
  const width = Math.floor(drawing.clientWidth);
  if (!width || Number(figure.dataset.width) === width) return;
  figure.dataset.width = width;
  const options = JSON.parse(figure.dataset.options);
  const choice = figure.querySelector("[data-choose]");
  const { legend: keys, fixed, ...given } = KINDS[figure.dataset.plot](tableOf(figure), options, { width, y: choice ? choice.value : options.y });
  const told = keys.length ? [legend(keys)] : [];
  drawing.replaceChildren(...told);
  const height = drawing.clientHeight - (told[0]?.offsetHeight ?? 0) - 2;
  const scales = { symbol: undefined, opacity: { type: "identity" } };
  const svg = Plot.plot({ ...scales, ...given, width, height: Math.max(80, height), color: { type: "identity" } });
  for (const style of all("style", svg)) style.remove(); // in page.css: the policy allows none but that
  svg.setAttribute("aria-hidden", "true");
  drawing.append(svg);
}

/** Draws anew what is drawn, as after a choice or a change of width. */
function again(figure) {
  delete figure.dataset.width;
  draw(figure);
}

/** Draws each figure once it comes near the part that is seen. */
function watch() {
  const figures = all("figure[data-plot]");
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  }, { rootMargin: "400px" });
  for (const figure of figures) {
    seen.observe(figure);
    figure.querySelector("[data-choose]")?.addEventListener("change", () => again(figure));
  }
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => all("figure[data-width]").forEach(draw), 150);
  });
  addEventListener("beforeprint", () => figures.forEach(draw));
}

/** Says something to those who listen to the page. */
function say(text) {
  document.getElementById("status").textContent = text;
}

/** Copies a command, or selects it where the browser lets nothing be copied. */
async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(code);
    say("Selected: copy it with the keyboard.");
  }
}

/** Shows the rows of the grid that fit what is asked for, and counts them. */
function filter(form) {
  const grid = document.getElementById(form.dataset.filters);
  const asked = Object.fromEntries(all("[name]", form).map((field) => [field.name, field.value]));
  const text = (asked.text ?? "").trim().toLowerCase();
  let shown = 0;
  const rows = all("tbody tr", grid);
  for (const row of rows) {
    const fits = row.dataset.name.toLowerCase().includes(text)
      && (!asked.question || row.dataset.question === asked.question)
      && (!asked.word || row.dataset.words.split("|").includes(asked.word));
    row.hidden = !fits;
    shown += fits;
  }
  const output = form.querySelector("output");
  output.textContent = `${shown} of ${rows.length} cases shown`;
}

/** Shows of a table of versions two columns, and the rows in which they differ; or all of it. */
function compare(locks, whole) {
  const table = locks.querySelector("table");
  const [from, to] = ["from", "to"].map((name) => locks.querySelector(`[name=${name}]`).selectedIndex + 1);
  let differing = 0;
  for (const row of table.rows) {
    const differs = row.parentElement.tagName === "THEAD" || row.cells[from].textContent !== row.cells[to].textContent;
    row.hidden = !(whole || differs);
    differing += differs;
    [...row.cells].forEach((cell, place) => { cell.hidden = !(whole || [0, from, to].includes(place)); });
  }
  locks.querySelector("output").textContent = whole ? "All are shown." : `${differing - 1} packages differ.`;
}

/** Opens what the address points to, and what it lies in. */
function open() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  const place = target.querySelector(":scope > summary") ?? target;
  if (place.tagName !== "SUMMARY" && !place.hasAttribute("tabindex")) place.tabIndex = -1;
  place.focus({ preventScroll: true });
  target.scrollIntoView();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const locks = event.target.closest("[data-compare], [data-all]");
  if (locks) compare(locks.closest("[data-locks]"), locks.hasAttribute("data-all"));
  const link = event.target.closest("a[href^='#']");
  if (link && link.getAttribute("href") === location.hash) open();
});
addEventListener("hashchange", open);
for (const form of all("[data-filters]")) {
  form.addEventListener("input", () => filter(form));
  filter(form);
}
watch();
open();
