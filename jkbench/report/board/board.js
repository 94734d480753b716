"use strict";
// Sorting, filtering, and what a cell or a task opens. Text of records is set as text; the markup of further tables was
// escaped where it was made, as that of the page.
const $ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
let data = null;
const form = document.querySelector(".filters");
const dialog = document.querySelector("dialog");
document.documentElement.classList.remove("plain");

async function unpack() {
  if (data) return;
  const bytes = Uint8Array.from(atob(document.getElementById("data").textContent), (letter) => letter.charCodeAt(0));
  const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  data = await new Response(text).json();
}

function element(name, text, attributes = {}, space) {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

// filters
const wanted = () => Object.fromEntries($("input, select", form).map((field) => [field.id, field.value.trim()]));

function fits(row, filter) {
  const of = row.dataset;
  return (!filter.method || of.row.toLowerCase().includes(filter.method.toLowerCase()))
    && (!filter.signal || of.signals.split(" ").includes(filter.signal))
    && (!filter.cost || (of.cost !== undefined && Number(of.cost) <= Number(filter.cost)))
    && (!filter.seeds || Number(of.seeds) >= Number(filter.seeds));
}

function show() {
  const filter = wanted();
  for (const task of $(".task")) {
    task.hidden = Boolean((filter.task && task.dataset.task !== filter.task)
      || (filter.family && task.dataset.family !== filter.family));
    const rows = $("tr[data-row]", task);
    const shown = new Set(rows.filter((row) => fits(row, filter)).map((row) => row.dataset.row));
    for (const each of $("[data-row]", task)) each.toggleAttribute("hidden", !shown.has(each.dataset.row));
    for (const each of $("[data-shots]", task)) {
      each.toggleAttribute("hidden", Boolean(filter.shots && each.dataset.shots !== filter.shots));
    }
    task.querySelector(".count").textContent =
      `${shown.size} of ${new Set(rows.map((row) => row.dataset.row)).size} rows`;
  }
  const kept = new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
  history.replaceState(null, "", kept ? `#${kept}` : location.pathname + location.search);
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(show));
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  const field = document.getElementById(name);
  if (field && form.contains(field)) field.value = value;
}

// sorting
function value(row, at) {
  const cell = row.cells[at];
  const number = parseFloat(cell.dataset.value ?? cell.textContent.replace("−", "-").replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

function sort(head, at) {
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of head.closest("table").tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    const named = rows.every((row) => value(row, at) === null) || at === 0;
    rows.sort((one, other) => {
      if (named) return one.cells[at].textContent.localeCompare(other.cells[at].textContent) * (down ? -1 : 1);
      const [a, b] = [value(one, at), value(other, at)];
      if (a === null || b === null) return (a === null) - (b === null);
      return (b - a) * (down ? 1 : -1);
    });
    body.append(...rows);
  }
}

function sortable(inside) {
  for (const head of $("thead th", inside)) {
    const button = element("button", undefined, { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    const at = [...head.parentNode.cells].indexOf(head);
    button.addEventListener("click", () => sort(head, at));
  }
}

// a task's further tables
for (const details of $(".task details")) {
  details.addEventListener("toggle", async () => {
    await unpack();
    const further = element("div");
    further.innerHTML = data.further[details.closest(".task").dataset.task];
    sortable(further);
    details.replaceChildren(details.firstElementChild, further);
  }, { once: true });
}

// cells
const SVG = "http://www.w3.org/2000/svg";

function curve(name, steps, trials) {
  const drawing = element("svg", undefined, { viewBox: "0 0 420 130", role: "img", "aria-label": `Loss term ${name}` }, SVG);
  const curves = trials.map((trial) => trial.curves?.[name] ?? []);
  const positive = curves.flat().filter((y) => y > 0);
  const [low, high] = [Math.log(Math.min(...positive)), Math.log(Math.max(...positive))];
  const x = (step) => 60 + 350 * step / Math.max(...steps, 1);
  const y = (term) => 110 - 100 * (Math.log(Math.max(term, Math.exp(low))) - low) / (high - low || 1);
  for (const [at, end] of [[110, low], [10, high]]) {
    drawing.append(element("line", undefined, { x1: 60, x2: 410, y1: at, y2: at, class: "grid" }, SVG));
    drawing.append(element("text", Number(Math.exp(end).toPrecision(3)), { x: 54, y: at + 4, "text-anchor": "end" }, SVG));
  }
  drawing.append(element("text", `step ${Math.max(...steps)}`, { x: 410, y: 126, "text-anchor": "end" }, SVG));
  for (const each of curves) {
    const points = each.map((term, at) => `${x(steps[at]).toFixed(1)},${y(term).toFixed(1)}`).join(" ");
    drawing.append(element("polyline", undefined, { points, class: "curve" }, SVG));
  }
  return drawing;
}

function list(entries) {
  const made = element("dl");
  for (const [name, text] of entries) made.append(element("dt", name), element("dd", text));
  return made;
}

function seeds(cell) {
  const table = element("table");
  const heads = ["seed", "accuracy in %", "status", "steps", "seconds", "trial"];
  const line = element("tr");
  for (const head of heads) line.append(element("th", head, { scope: "col" }));
  table.append(element("thead"), element("tbody"));
  table.tHead.append(line);
  for (const [at, trial] of cell.trials.map((place) => data.trials[place]).entries()) {
    const row = element("tr");
    const told = trial.message ? `${trial.status}: ${trial.message}` : trial.status;
    for (const text of [trial.seed, cell.values[at] ?? "–", told, trial.steps ?? "–", trial.seconds ?? "–"]) {
      row.append(element("td", text, { class: text === told ? "text" : "right" }));
    }
    row.append(element("td"));
    row.lastChild.append(element("code", trial.id));
    table.tBodies[0].append(row);
  }
  const wide = element("div", undefined, { class: "wide", tabindex: 0, role: "region", "aria-label": "Seeds" });
  wide.append(table);
  return wide;
}

function open(cell) {
  const trials = cell.trials.map((place) => data.trials[place]);
  dialog.replaceChildren();
  const close = element("button", "Close", { type: "button", class: "close" });
  close.addEventListener("click", () => dialog.close());
  dialog.append(element("h2", `${cell.row}, ${cell.where}`), close, element("p", cell.task));
  dialog.append(element("h3", "Seeds"), seeds(cell));
  dialog.append(element("h3", "Commands to repeat it"), element("pre", `${cell.command}\njkbench rerun ${trials[0].id}`));
  dialog.append(element("h3", "Parameters"), list([...Object.entries(cell.parameters), ["code", cell.code]]));
  const named = [...new Set(trials.flatMap((trial) => Object.keys(trial.curves ?? {})))];
  if (named.length) dialog.append(element("h3", "Loss terms, one line per seed"));
  for (const name of named) {
    const steps = trials.find((trial) => trial.curves).at;
    const figure = element("figure");
    figure.append(curve(name, steps, trials), element("figcaption", name));
    dialog.append(figure);
  }
  const places = [...new Set(trials.map((trial) => trial.environment).filter(Boolean))];
  if (places.length) dialog.append(element("h3", "Where it ran"));
  for (const place of places) dialog.append(list(Object.entries(data.environments[place])));
  dialog.showModal();
  dialog.scrollTop = 0;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-cell]");
  if (button) {
    await unpack();
    const [task, row] = [button.closest("[data-task]"), button.closest("[data-row]")];
    open(data.cells[[task.dataset.task, row.dataset.row, button.dataset.cell].join("|")]);
  }
  if (event.target === dialog) dialog.close();
});
sortable();
show();

// a served board: load again when the records have changed, but not under a reader's open cell
if (document.body.dataset.poll) {
  let seen = null;
  setInterval(async () => {
    try {
      const now = await (await fetch("version", { cache: "no-store" })).text();
      if (seen !== null && now !== seen && !dialog.open) location.reload();
      else if (seen === null) seen = now;
    } catch { /* the server has ended: the page stays as it is */ }
  }, 2000);
}
