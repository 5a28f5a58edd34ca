"use strict";

// Every picture becomes a card at once; files then go to the service in small requests, one after another, so
// that the first answers show while the rest is on its way.

const MEGABYTE = 1e6;
const PER_REQUEST = 8;
const LABELS = 3;

const element = (id) => document.getElementById(id);
const results = element("results");
const state = { limits: null, total: 0, done: 0, failed: 0, sending: Promise.resolve() };

function percent(share) {
  if (share > 0 && share < 0.0005) return "<\u00a00.1\u00a0%";
  const digits = share > 0.999 && share < 1 ? 2 : 1;
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

function count(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}

async function describe() {
  const info = await (await fetch("info")).json();
  const { card, limits, metrics } = info;
  state.limits = limits;
  const test = metrics.test ?? {};
  let about = `${card.name} tells ${count(card.classes.length, "class", "classes")} apart`;
  if (test.accuracy !== undefined) about += ` and is right on ${percent(test.accuracy)} of the test pictures`;
  if (test.accuracy_low !== undefined) {
    about += ` (${percent(test.accuracy_low)} to ${percent(test.accuracy_high)})`;
  }
  element("about").textContent = about;
  element("hint").textContent = `Up to ${limits.max_megabytes} MB and ${limits.max_megapixels} megapixels a picture`;
  const link = document.createElement("a");
  link.href = "./";
  link.textContent = "Interface for programs";
  element("foot").append(`Model ${info.model.version}. Pictures are answered here and not kept. `, link);
}

function report() {
  const waiting = state.total - state.done;
  element("bar").hidden = state.total === 0;
  const parts = [`${count(state.done, "picture", "pictures")} done`];
  if (state.failed) parts.push(`${state.failed} without an answer`);
  if (waiting) parts.push(`${waiting} waiting`);
  element("status").textContent = parts.join(", ");
}

function addCard(file) {
  const card = element("card").content.firstElementChild.cloneNode(true);
  const image = card.querySelector("img");
  image.addEventListener("error", () => { image.hidden = true; });
  image.src = URL.createObjectURL(file);
  card.querySelector("h2").textContent = file.name;
  card.querySelector("h2").title = file.name;
  results.append(card);
  return card;
}

function showFailure(card, message) {
  card.classList.add("failed");
  card.querySelector(".message").textContent = message[0].toUpperCase() + message.slice(1);
  state.failed += 1;
}

function showLabels(card, labels) {
  card.querySelector(".message").remove();
  card.querySelector("ol").append(...labels.map(({ label, probability }) => {
    const row = document.createElement("li");
    const [name, share, track, fill] = ["span", "span", "div", "span"].map((tag) => document.createElement(tag));
    name.className = "name";
    name.textContent = label;
    share.className = "share";
    share.textContent = percent(probability);
    track.className = "track";
    fill.style.width = `${100 * probability}%`;
    track.append(fill);
    row.append(name, share, track);
    return row;
  }));
}

// One request for a few pictures; whatever goes wrong is shown beside each picture concerned.
async function send(batch) {
  if (!batch.some(({ card }) => card.isConnected)) return; // cleared while it waited
  const form = new FormData();
  batch.forEach(({ file }) => form.append("images", file, file.name));
  form.append("top_k", LABELS);
  let predictions = [];
  let problem = "no answer";
  try {
    const response = await fetch("predict", { method: "POST", body: form });
    const answer = await response.json();
    predictions = answer.predictions ?? [];
    problem = answer.error?.message ?? answer.error ?? problem;
  } catch {
    problem = "the service cannot be reached";
  }
  batch.forEach(({ card }, place) => {
    if (!card.isConnected) return;
    const prediction = predictions[place];
    if (prediction?.labels) showLabels(card, prediction.labels);
    else showFailure(card, prediction?.error?.message ?? problem);
    state.done += 1;
  });
  report();
}

function inBatches(items) {
  const most = Math.min(PER_REQUEST, state.limits?.max_images ?? 1);
  const room = 0.9 * MEGABYTE * (state.limits?.max_request_megabytes ?? 10);
  const batches = [];
  let size = Infinity;
  for (const item of items) {
    if (size + item.file.size > room || batches.at(-1).length >= most) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1).push(item);
    size += item.file.size;
  }
  return batches;
}

function add(files) {
  const items = [...files].map((file) => ({ file, card: addCard(file) }));
  state.total += items.length;
  const largest = MEGABYTE * (state.limits?.max_megabytes ?? Infinity);
  const sendable = items.filter(({ file, card }) => {
    if (file.size <= largest) return true;
    showFailure(card, `larger than the ${state.limits.max_megabytes} MB allowed: make the picture smaller`);
    state.done += 1;
    return false;
  });
  report();
  for (const batch of inBatches(sendable)) state.sending = state.sending.then(() => send(batch));
}

element("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add(event.dataTransfer.files);
});
element("clear").addEventListener("click", () => {
  results.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  results.replaceChildren();
  Object.assign(state, { total: 0, done: 0, failed: 0 });
  report();
  element("files").focus();
});
describe().catch(() => { element("about").textContent = "The service cannot be reached."; });
