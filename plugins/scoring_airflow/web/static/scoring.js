// What the pages do beyond links and forms: cells are reached by arrow keys and selected, commands
// are copied, backfills are created by Airflow's own API. Without it everything can still be read.
"use strict";

const jobOf = (cell) => cell.closest("[data-row]").dataset.row;
const cells = () => [...document.querySelectorAll("table.grid a.cell")];
const chosen = new Set();
let selecting = false; // whether a click selects, for hands without a keyboard

// ---- Inside of Airflow, a page is in a frame that may not navigate the window around it. A link
// that leaves the pages is followed by a link of that window.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.leave");
  if (!link || window.parent === window) return;
  try {
    const outer = window.parent.document.createElement("a");
    outer.href = link.href;
    window.parent.document.body.append(outer);
    outer.click();
    outer.remove();
    event.preventDefault();
  } catch {
    // The frame around is another site's: the link is followed here.
  }
});

// ---- The newest partitions are at the right end.
for (const region of document.querySelectorAll("[data-end]")) region.scrollLeft = region.scrollWidth;

// ---- Keys: one cell of a table is reached by Tab, the others by arrows.
for (const table of document.querySelectorAll("table.grid")) {
  const own = [...table.querySelectorAll("a.cell")];
  own.forEach((cell) => (cell.tabIndex = -1));
  if (own.length) own[own.length - 1].tabIndex = 0;
}

function neighbour(cell, key) {
  const column = cell.closest("td");
  const row = column.parentElement;
  if (key === "ArrowLeft" || key === "ArrowRight" || key === "Home" || key === "End") {
    const all = [...row.querySelectorAll("a.cell")];
    const at = all.indexOf(cell);
    return { ArrowLeft: all[at - 1], ArrowRight: all[at + 1], Home: all[0], End: all.at(-1) }[key];
  }
  const step = key === "ArrowUp" ? "previousElementSibling" : "nextElementSibling";
  for (let other = row[step]; other; other = other[step]) {
    const found = other.children[column.cellIndex]?.querySelector("a.cell");
    if (found) return found;
  }
  return undefined;
}

document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.("a.cell");
  if (!cell || !cell.closest("table.grid")) {
    if (event.key === "Escape" && chosen.size) clear();
    return;
  }
  if (event.key === " ") {
    toggle(cell);
  } else if (/^(Arrow|Home|End)/.test(event.key)) {
    const next = neighbour(cell, event.key);
    if (next) {
      if (event.shiftKey) {
        select(cell, true);
        select(next, true);
        show();
      }
      cell.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  } else if (event.key === "Escape") {
    clear();
    return;
  } else {
    return;
  }
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const cell = event.target.closest("table.grid a.cell");
  if (cell && (selecting || event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    toggle(cell);
  }
  if (event.target.closest("[data-clear]")) clear();
  const mode = event.target.closest("[data-select-mode]");
  if (mode) {
    selecting = !selecting;
    mode.setAttribute("aria-pressed", String(selecting));
  }
  if (event.target.closest("[data-select-concerns]")) {
    for (const found of cells()) {
      if (found.matches(".is-failed, .is-held, .is-missing, .is-stale")) select(found, true);
    }
    show();
  }
});

for (const bar of document.querySelectorAll("[data-selecting]")) bar.hidden = false;

// A mouse shows what a screen reader says.
document.addEventListener("pointerover", (event) => {
  const cell = event.target.closest?.("a.cell");
  if (cell) cell.title = cell.getAttribute("aria-label");
});

// ---- Selection.
function select(cell, on) {
  if (on) chosen.add(cell);
  else chosen.delete(cell);
  cell.classList.toggle("selected", on);
  cell.setAttribute("aria-label", cell.getAttribute("aria-label").replace(/, selected$/, "") + (on ? ", selected" : ""));
}

function toggle(cell) {
  select(cell, !chosen.has(cell));
  show();
}

function clear() {
  for (const cell of [...chosen]) select(cell, false);
  show();
}

// Partitions of a job that follow each other are one range.
function stretches(of) {
  const found = [];
  for (const cell of of) {
    const last = found.at(-1);
    if (last && Number(last.at(-1).dataset.number) + 1 === Number(cell.dataset.number)) last.push(cell);
    else found.push([cell]);
  }
  return found;
}

const keysOf = (stretch) =>
  stretch.length === 1
    ? stretch[0].dataset.key
    : `${stretch[0].dataset.key}..${stretch.at(-1).dataset.key}`;

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

function show() {
  const panel = document.getElementById("selection");
  if (!panel) return;
  const list = document.getElementById("commands");
  list.replaceChildren();
  document.getElementById("outcome").textContent = "";
  panel.hidden = chosen.size === 0;
  document.getElementById("selected").textContent =
    chosen.size === 1 ? "1 partition selected" : `${chosen.size} partitions selected`;
  const jobs = new Map();
  const ordered = cells().filter((cell) => chosen.has(cell));
  for (const cell of ordered) {
    if (!jobs.has(jobOf(cell))) jobs.set(jobOf(cell), []);
    jobs.get(jobOf(cell)).push(cell);
  }
  for (const [job, of] of jobs) {
    of.sort((one, other) => one.dataset.number - other.dataset.number);
    const held = of.filter((cell) => cell.classList.contains("is-held"));
    const again = stretches(of.filter((cell) => !cell.classList.contains("is-held")));
    if (again.length) {
      const command = `airflow scoring backfill ${job} ${again.map(keysOf).join(" ")}`;
      list.append(line(command, job, again));
    }
    for (const cell of held) {
      const name = cell.closest("[data-row]").dataset.publish; // a Dag may be called otherwise
      list.append(line(`scoring publish ${name} ${cell.dataset.key} --accept "why"`));
    }
  }
}

function line(command, job, again) {
  const made = element("div", undefined, { className: "command" });
  const copy = element("button", "Copy", { type: "button", className: "quiet" });
  copy.setAttribute("aria-label", `Copy: ${command}`);
  copy.addEventListener("click", () => copied(command, copy));
  made.append(element("code", command), copy);
  if (again) {
    const row = again[0][0].closest("[data-row]");
    if ("mayBackfill" in row.dataset) made.append(backfillButton(job, row, again));
  }
  return made;
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain http, or in a frame, there is no clipboard to write to: the old way.
    const area = element("textarea", text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// ---- Backfills are made by Airflow's REST API, which asks who may, and writes its audit log.
function backfillButton(job, row, again) {
  const button = element("button", "Backfill", { type: "button", className: "primary" });
  const next = row.dataset.next;
  if (again.length > 1) {
    button.disabled = true;
    button.title = "Airflow makes one backfill at a time, of one range: use the command";
  } else if (next && new Date(again[0].at(-1).dataset.to) >= new Date(next)) {
    button.disabled = true;
    button.title = "The scheduler has not made these runs yet, and will";
  }
  if (button.disabled) return button;
  const count = again[0].length;
  button.addEventListener("click", () => {
    if (button.dataset.sure) create(job, row, again[0], button);
    else {
      button.dataset.sure = "yes";
      button.textContent = `Create ${count === 1 ? "1 run" : `${count} runs`}?`;
    }
  });
  return button;
}

async function create(job, row, stretch, button) {
  const outcome = document.getElementById("outcome");
  button.disabled = true;
  try {
    const answer = await fetch(document.getElementById("selection").dataset.backfills, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        dag_id: job,
        from_date: stretch[0].dataset.from,
        to_date: stretch.at(-1).dataset.to,
        reprocess_behavior: "completed",
        max_active_runs: Number(row.dataset.runs),
        dag_run_conf: {},
      }),
    });
    const body = await answer.json().catch(() => ({}));
    const detail = typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail ?? "");
    outcome.textContent = answer.ok
      ? `Backfill ${body.id} of ${job} is created. Reload this page to see its runs.`
      : `Airflow refuses (${answer.status}): ${detail}`;
    button.textContent = answer.ok ? "Created" : "Backfill";
    if (!answer.ok) {
      button.disabled = false;
      delete button.dataset.sure;
    }
  } catch (error) {
    outcome.textContent = `Airflow does not answer: ${error.message}`;
    button.disabled = false;
  }
}
