// One image at a time. A decision is shown at once and sent in the background, one after another; the images of the
// next cases are loaded in advance.

import { marked, markedByKey, showScene } from "./scene.js";

const DIGITS = "1234567890";
const element = (id) => document.getElementById(id);
const state = { data: null, cases: [], sent: new Set(), sending: Promise.resolve() };
const loaded = new Map(); // images in advance, by case

// Survives a reload. The address contains a token, so another session does not find it.
const KEY = `decided ${location.pathname}`;
const decided = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");

function remember(change) {
  change();
  sessionStorage.setItem(KEY, JSON.stringify(decided));
}

async function ask(address, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("darkroom curate has ended: start it again. Your decisions are stored.");
  }
  if (response.headers.get("Content-Type") !== "application/json") {
    throw new Error(`darkroom curate returned status ${response.status}: ${await response.text()}`);
  }
  return response.json();
}

function tell(problem) {
  element("problem").textContent = problem && problem[0].toUpperCase() + problem.slice(1);
  element("problem").hidden = !problem;
}

// Take over what the server knows, except for decisions that it does not have yet.
function update(data) {
  state.data = data;
  state.cases = data.cases.filter(({ id }) => !state.sent.has(id));
  for (const id of loaded.keys()) if (!data.cases.some((each) => each.id === id)) loaded.delete(id);
  for (const each of state.cases) if (!loaded.has(each.id)) loaded.set(each.id, preload(each));
  report();
}

function preload({ id, examples, scene }) {
  for (const row of [...Object.values(examples).flat(), ...scene.map((each) => each.row)]) new Image().src = `row/${row}`;
  const image = new Image();
  if (scene.length) return image;
  image.src = `case/${id}`;
  return image;
}

function report() {
  const { total, changed, kept, excluded, skipped } = state.data;
  const done = changed + kept + excluded;
  element("progress").max = total;
  element("progress").value = done + skipped;
  element("progress-text").textContent =
    `${done.toLocaleString("en")} of ${total.toLocaleString("en")} decided${skipped ? `, ${skipped} skipped` : ""}`;
  for (const id of ["undo", "undo-end"]) element(id).disabled = decided.length === 0;
}

function show() {
  const current = state.cases[0];
  const waiting = !current && state.data.open > 0; // the next cases are on their way
  element("case").hidden = !current;
  element("end").hidden = Boolean(current) || waiting;
  if (!current) delete document.body.dataset.ready;
  if (current) showCase(current);
  else if (!waiting) showEnd();
}

function showCase(current) {
  if (document.body.dataset.case === String(current.id)) return;
  document.body.dataset.case = current.id;
  delete document.body.dataset.ready;
  const scene = current.scene.length > 0;
  for (const id of ["figure", "compared", "classes"]) element(id).hidden = scene;
  for (const id of ["scene", "apart"]) element(id).hidden = !scene;
  // A decision about an image that is not visible yet would be a mistake.
  const ready = () => { if (document.body.dataset.case === String(current.id)) document.body.dataset.ready = "yes"; };
  Promise.all(scene ? showScene(current, state.data.side <= 64, nameActions) : [showImage(current)]).then(ready, ready);
  element("name").textContent = current.image;
  element("split").textContent = current.split;
  element("why").textContent = current.why;
  fill("now", current.label, current.examples[current.label]);
  for (const id of ["now", "keep"]) element(id).hidden = !current.label; // an image sent to the service has none
  fill("proposal", current.proposed, current.examples[current.proposed]);
  element("proposal").hidden = !current.proposed || current.proposed === current.label;
  element("proposal").querySelector("h2 span").textContent =
    current.probability === null ? "" : `${(100 * current.probability).toFixed(0)}\u00a0%`;
  element("accept").hidden = element("proposal").hidden;
  element("accept").querySelector("bdi").textContent = current.proposed;
  showCopies(current);
  nameActions();
  clearSearch();
  window.scrollTo(0, 0);
}

function showImage(current) {
  const image = element("image");
  image.classList.toggle("small", current.small);
  image.alt = `Image to decide: ${current.image}`;
  image.src = `case/${current.id}`;
  return image.decode();
}

// What the buttons do with a scene depends on the marked images.
function nameActions() {
  const { scene, label } = state.cases[0];
  const count = scene.length && marked().length;
  const [keep, exclude, apart] = ["keep", "exclude", "apart"].map((id) => element(id).querySelector("span"));
  keep.replaceChildren(...(scene.length ? ["Keep all"] : ["Keep ", named(label)]));
  exclude.textContent = !scene.length ? "Exclude" : `Exclude ${count || "all"}`;
  apart.textContent = count ? "Another scene" : "Not one scene";
}

function named(text) {
  const name = document.createElement("bdi");
  name.textContent = text;
  return name;
}

function fill(id, label, rows = []) {
  const part = element(id);
  part.querySelector("bdi").textContent = label;
  part.classList.toggle("small", state.data.side <= 64);
  part.querySelector("ul").replaceChildren(...rows.map((row) => listed(row, `Example of ${label}`)));
}

function listed(row, alt) {
  const [item, image] = ["li", "img"].map((tag) => document.createElement(tag));
  image.src = `row/${row}`;
  image.alt = alt;
  item.append(image);
  return item;
}

function showCopies({ copies }) {
  element("copies").hidden = copies.length === 0;
  element("copies-count").textContent = copies.length === 1 ? "a copy of this image" : `${copies.length} copies of it`;
  element("copies").querySelector("ul").replaceChildren(...copies.slice(0, 12).map(({ row, image, label }) => {
    const item = listed(row, `Copy ${image}`);
    const name = document.createElement("span");
    name.textContent = label;
    item.title = image;
    item.append(name);
    return item;
  }));
}

function showEnd() {
  delete document.body.dataset.case;
  const { changed, kept, excluded, skipped } = state.data;
  element("end").querySelector("h2").textContent = skipped ? "All other images are decided" : "All images are decided";
  element("end-counts").textContent = `Labels: ${changed} changed, ${kept} confirmed. Images: ${excluded} excluded`
    + `${skipped ? `, ${skipped} skipped` : ""}.`;
  element("unskip").hidden = skipped === 0;
}

const WORDS = {
  label: ({ label }, given) => [given === label ? "Kept " : label && `${label} → `, given],
  keep: ({ label }) => ["Kept ", label],
  exclude: ({ scene }, given, count) => ["Excluded", scene.length ? ` ${count || scene.length} of ${scene.length}` : ""],
  apart: ({ scene }, given, count) => [count ? `Another scene: ${count} of ${scene.length}` : "Not one scene"],
  skip: () => ["Skipped", ""],
};

function note(parts, image) {
  element("last").replaceChildren(...parts, ": ", named(image));
}

function decide(action, label = "") {
  const current = state.cases[0];
  if (!current || !document.body.dataset.ready) return;
  if (action === "label" && label === current.label && !current.copies.length) action = "keep";
  state.sent.add(current.id);
  state.cases.shift();
  remember(() => decided.push(current.id));
  tell("");
  const chosen = current.scene.length ? marked() : [];
  note(WORDS[action](current, label, chosen.length), current.image);
  send(current.id, "decide", { id: current.id, action, label, marked: chosen });
  show();
}

function undo() {
  if (!decided.length) return;
  const id = decided.at(-1);
  remember(() => decided.pop());
  element("last").textContent = "Undone";
  send(id, "undo", { id });
}

function send(id, address, body) {
  state.sending = state.sending.then(async () => {
    try {
      const data = await ask(address, body);
      state.sent.delete(id);
      if (data.problem) {
        tell(data.problem);
        if (address === "decide") remember(() => decided.splice(decided.lastIndexOf(id), 1));
        element("last").textContent = "";
      }
      update(data);
      show();
    } catch (error) {
      stop(error.message);
    }
  });
}

// Nothing more can be stored, so nothing more is asked.
function stop(message) {
  state.cases = [];
  delete document.body.dataset.ready;
  element("case").hidden = true;
  element("last").textContent = "";
  tell(message);
}

// The key of a class: its place, or the class itself where all classes are digits. From the eleventh on, there is none.
function digitOf(label, place) {
  return state.data.classes.every((each) => /^[0-9]$/.test(each)) ? label : DIGITS[place];
}

// Classes without a key are found by name.
function showClasses() {
  const { classes } = state.data;
  element("search").hidden = classes.length <= DIGITS.length;
  element("classes").querySelector("ul").replaceChildren(...classes.map((label, place) => {
    const [item, button, text, name, key] = ["li", "button", "span", "bdi", "kbd"].map((tag) => document.createElement(tag));
    name.textContent = label;
    text.append(name);
    button.type = "button";
    button.title = label;
    button.append(text);
    if (digitOf(label, place)) {
      key.textContent = digitOf(label, place);
      button.append(key);
    }
    button.addEventListener("click", () => decide("label", label));
    item.dataset.label = label;
    item.append(button);
    return item;
  }));
}

function found() {
  const wanted = element("search").value.trim().toLowerCase();
  const items = [...element("classes").querySelectorAll("li")];
  const matches = items.filter(({ dataset }) => dataset.label.toLowerCase().includes(wanted));
  for (const item of items) item.hidden = !matches.includes(item);
  matches.sort((a, b) => b.dataset.label.toLowerCase().startsWith(wanted) - a.dataset.label.toLowerCase().startsWith(wanted));
  for (const item of items) item.firstChild.classList.toggle("first", wanted !== "" && item === matches[0]);
  return wanted ? matches[0]?.dataset.label : undefined;
}

function clearSearch() {
  element("search").value = "";
  element("search").blur();
  found();
}

const KEYS = {
  enter: () => { if (!element("accept").hidden) decide("label", state.cases[0]?.proposed); },
  k: () => { if (!element("keep").hidden) decide("keep"); },
  x: () => decide("exclude"),
  n: () => { if (!element("apart").hidden) decide("apart"); },
  s: () => decide("skip"),
  u: undo,
  "?": () => element("help").showModal(),
  "/": () => { if (!element("search").hidden && !element("classes").hidden) element("search").focus(); },
};

document.addEventListener("keydown", (event) => {
  // A key that is held down would decide images that nobody has seen.
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || element("help").open) return;
  if (event.target === element("search")) {
    if (event.key === "Escape") clearSearch();
    else if (event.key === "Enter") {
      const label = found();
      if (label !== undefined) decide("label", label);
    }
    return;
  }
  if (state.cases[0]?.scene.length && markedByKey(event.key)) {
    event.preventDefault();
    return;
  }
  const key = event.key.toLowerCase();
  const label = state.data?.classes.find((each, place) => digitOf(each, place) === key);
  if (label !== undefined) decide("label", label);
  else if (Object.hasOwn(KEYS, key)) KEYS[key]();
  else return;
  event.preventDefault(); // Enter must not press a button as well
});

element("search").addEventListener("input", found);
for (const [id, key] of [["accept", "enter"], ["keep", "k"], ["exclude", "x"], ["apart", "n"], ["skip", "s"], ["undo", "u"],
  ["undo-end", "u"], ["help-open", "?"]]) {
  element(id).addEventListener("click", () => KEYS[key]());
}
element("unskip").addEventListener("click", () => send(null, "unskip", {}));

try {
  update(await ask("state"));
  showClasses();
  show();
} catch (error) {
  stop(error.message);
}
