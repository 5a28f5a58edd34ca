// Each picture gets a card immediately. The files are then sent in small requests, one after another, so that the
// first predictions appear while the rest is still being sent.

import { describe } from "./about.js";
import { ask, count, percent, sentence } from "./words.js";

const MEGABYTE = 1e6;
const PER_REQUEST = 8;
const LABELS = 3;
const NEIGHBORS = 3;
const FAINT = 0.05; // a smaller change of the probability means that no single region decides the prediction

const element = (id) => document.getElementById(id);
const results = element("results");
const state = { info: null, total: 0, done: 0, failed: 0, sending: Promise.resolve() };

function report() {
  const waiting = state.total - state.done;
  element("bar").hidden = state.total === 0;
  const parts = [`${count(state.done, "picture", "pictures")} done`];
  if (state.failed) parts.push(`${state.failed} failed`);
  if (waiting) parts.push(`${waiting} waiting`);
  element("status").textContent = parts.join(", ");
}

function addCard(file) {
  const card = element("card").content.firstElementChild.cloneNode(true);
  const image = card.querySelector("img");
  image.addEventListener("error", () => { image.hidden = true; });
  image.src = URL.createObjectURL(file);
  card.querySelector("h3").textContent = file.name;
  card.querySelector("h3").title = file.name;
  results.append(card);
  return card;
}

function showFailure(card, message) {
  card.classList.add("failed");
  card.querySelector(".message").textContent = sentence(message);
  state.failed += 1;
}

function showPrediction(card, file, prediction) {
  const { labels, confident, in_distribution: known } = prediction;
  card.querySelector(".message").remove();
  const doubt = card.querySelector(".doubt");
  if (known === false) doubt.textContent = "Probably none of the classes: this picture is unlike the training images.";
  else if (confident === false) doubt.textContent = "Low confidence: do not rely on this prediction.";
  doubt.hidden = doubt.textContent === "";
  card.classList.toggle("doubtful", !doubt.hidden);
  card.querySelector("ol").append(...labels.map(({ label, probability }) => {
    const row = document.createElement("li");
    const [name, share, track, fill] = ["span", "span", "div", "span"].map((tag) => document.createElement(tag));
    name.className = "name";
    name.textContent = label;
    name.title = label;
    share.className = "share";
    share.textContent = percent(probability);
    track.className = "track";
    fill.style.width = `${100 * probability}%`;
    track.append(fill);
    row.append(name, share, track);
    return row;
  }));
  showNeighbors(card, prediction.neighbors ?? []);
  card.querySelector(".actions").hidden = false;
  card.querySelector(".why").setAttribute("aria-label", `Why ${labels[0].label}? ${file.name}`);
  card.querySelector(".why").addEventListener("click", () => explain(card, file, labels[0].label));
  if (state.info?.keeps.answers && !file.example) offerCorrection(card, file, labels[0].label);
}

// The most similar training images: thumbnails if the model contains them, otherwise only their classes.
function showNeighbors(card, neighbors) {
  card.querySelector(".similar").hidden = neighbors.length === 0;
  card.querySelector(".similar ul").append(...neighbors.map(({ name, label, similarity, thumbnail }) => {
    const row = document.createElement("li");
    const caption = document.createElement("span");
    caption.textContent = `${label} (${similarity.toFixed(2)})`;  // not a percentage, which would look like a probability
    row.title = `${name}: cosine similarity ${similarity.toFixed(2)}`;
    if (thumbnail) {
      const image = document.createElement("img");
      image.src = thumbnail;
      image.alt = `Training image: ${label}`;
      row.append(image);
    }
    row.append(caption);
    return row;
  }));
}

// Show or hide a heat map of the regions that support the prediction.
async function explain(card, file, label) {
  const [button, legend] = [".why", ".legend"].map((name) => card.querySelector(name));
  const shown = card.querySelector(".heat");
  if (shown) {
    shown.hidden = !shown.hidden;
    legend.hidden = shown.hidden;
    button.setAttribute("aria-pressed", String(!shown.hidden));
    return;
  }
  button.disabled = true;
  legend.textContent = "Computing…";
  try {
    const form = new FormData();
    form.append("image", file, file.name);
    form.append("label", label);
    const heat = document.createElement("img");
    heat.className = "heat";
    heat.alt = `Regions of ${file.name} that support ${label}`;
    const answer = await ask("explain", form);
    heat.src = URL.createObjectURL(await answer.blob());
    fitOver(card.querySelector("img"), heat);
    card.querySelector(".thumb").append(heat);
    const strongest = Number(answer.headers.get("X-Strongest"));
    legend.replaceChildren("Orange regions support ", isolated(label), ", blue regions contradict it.");
    if (strongest < FAINT) {
      legend.append(" No single region changes the prediction: the colours show where its odds change most.");
    }
    button.setAttribute("aria-pressed", "true");
  } catch (error) {
    legend.textContent = sentence(error.message);
  }
  button.disabled = false;
}

// If the model sees the whole picture, the thumbnail shows all of it. The heat map, which has a scale below, covers it
// exactly.
function fitOver(image, heat) {
  const { naturalWidth: width, naturalHeight: height } = image;
  if ((state.info?.card.fit ?? "crop") === "crop" || !width) return;
  const longer = Math.max(width, height);
  heat.style.width = `${100 * width / longer}%`;
  heat.style.height = `${100 * height / longer}%`;
  heat.style.margin = "auto";
  heat.style.objectFit = "cover";
}

// A class name inside a sentence, isolated so that right-to-left text in it does not reorder the rest.
function isolated(name) {
  const made = document.createElement("bdi");
  made.textContent = name;
  return made;
}

// If the service keeps a log, let the user correct the class.
function offerCorrection(card, file, label) {
  const [button, form] = [".wrong", ".correction"].map((name) => card.querySelector(name));
  const select = form.querySelector("select");
  button.hidden = false;
  button.setAttribute("aria-label", `Wrong? ${file.name}`);
  select.append(...state.info.classes.filter((name) => name !== label).map((name) => new Option(name, name)));
  button.addEventListener("click", () => {
    form.hidden = !form.hidden;
    button.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) select.focus();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const sent = new FormData();
    sent.append("image", file, file.name);
    sent.append("label", select.value);
    const note = card.querySelector(".legend");
    note.hidden = false;
    try {
      await ask("correct", sent);
      note.replaceChildren("Thank you: stored as ", isolated(select.value), " for the next training run.");
      form.remove();
      button.remove();
      card.querySelector(".why").focus();
    } catch (error) {
      note.textContent = sentence(error.message);
    }
  });
}

// One request for a few pictures. An error is shown on the card of each picture that it affects.
async function send(batch) {
  if (!batch.some(({ card }) => card.isConnected)) return; // cleared while it waited
  const form = new FormData();
  batch.forEach(({ file }) => form.append("images", file, file.name));
  form.append("top_k", LABELS);
  if ((state.info?.neighbors ?? "none") !== "none") form.append("neighbors", NEIGHBORS);
  let predictions = [];
  let problem = "no prediction received";
  try {
    predictions = (await (await ask("predict", form)).json()).predictions;
  } catch (error) {
    predictions = error.body?.predictions ?? [];
    problem = error.message;
  }
  batch.forEach(({ file, card }, place) => {
    if (!card.isConnected) return;
    const prediction = predictions[place];
    if (prediction?.labels) showPrediction(card, file, prediction);
    else showFailure(card, prediction?.error?.message ?? problem);
    state.done += 1;
  });
  report();
}

function inBatches(items) {
  const limits = state.info?.limits;
  const most = Math.min(PER_REQUEST, limits?.max_images ?? 1);
  const room = 0.9 * MEGABYTE * (limits?.max_request_megabytes ?? 10);
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
  const most = state.info?.limits.max_megabytes ?? Infinity;
  const sendable = items.filter(({ file, card }) => {
    if (file.size <= MEGABYTE * most) return true;
    showFailure(card, `larger than the limit of ${most} MB: choose a smaller picture`);
    state.done += 1;
    return false;
  });
  report();
  for (const batch of inBatches(sendable)) state.sending = state.sending.then(() => send(batch));
}

function showExamples(examples) {
  element("examples").hidden = examples.length === 0;
  element("examples").querySelector("ul").append(...examples.map(({ file, label }) => {
    const [row, button, image] = ["li", "button", "img"].map((tag) => document.createElement(tag));
    button.type = "button";
    image.src = `examples/${file}`;
    image.alt = `Example: ${label}`;
    image.title = label;
    button.append(image);
    button.addEventListener("click", async () => {
      try {
        const answer = await fetch(image.src);
        if (!answer.ok) throw new Error(`the example cannot be loaded (status ${answer.status})`);
        const picture = await answer.blob();
        const file = new File([picture], `${label} (example).png`, { type: picture.type });
        file.example = true; // its class is known
        add([file]);
      } catch (error) {
        element("bar").hidden = false;
        element("status").textContent = sentence(error.message);
      }
    });
    row.append(button);
    return row;
  }));
}

for (const id of ["files", "camera"]) {
  element(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
}
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

try {
  state.info = await (await ask("info")).json();
  describe(state.info);
  document.body.dataset.fit = state.info.card.fit;
  showExamples(state.info.examples);
} catch (error) {
  element("about").textContent = sentence(error.message);
}
