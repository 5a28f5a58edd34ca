// Describes the model: one line at the top of the page, the details in the dialog.

import { count, percent } from "./words.js";

const SHARES = {
  accuracy: "Accuracy",
  macro_precision: "Macro precision",
  macro_recall: "Macro recall",
  macro_f1: "Macro F1",
  ece: "Expected calibration error",
};

// What the model sees of a picture.
const SEEN = {
  crop: "the central square",
  pad: "the whole picture between bars of its mean colour",
  stretch: "the whole picture, stretched to a square",
};

const element = (id) => document.getElementById(id);

function build(tag, text, ...children) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

function withInterval(scores, name) {
  const [low, high] = [scores[`${name}_low`], scores[`${name}_high`]];
  return percent(scores[name]) + (low === undefined ? "" : ` (${percent(low)} to ${percent(high)})`);
}

function list(rows) {
  const made = build("dl", "");
  for (const [name, value] of rows) {
    if (value !== null && value !== undefined && value !== "") made.append(build("dt", name), build("dd", value));
  }
  return made;
}

export function describe(info) {
  const { card, limits, metrics, keeps } = info;
  const test = metrics.test ?? {};
  let about = `${card.name} distinguishes ${count(info.classes.length, "class", "classes")}`;
  if (test.accuracy !== undefined) about += ` with a test accuracy of ${withInterval(test, "accuracy")}`;
  if (test.accuracy !== undefined && info.precision === "int8") about += " (float32; int8 is served)";
  element("about").textContent = about;
  element("hint").textContent = `Up to ${limits.max_megabytes} MB and ${limits.max_megapixels} megapixels per picture`;

  element("foreign").textContent = info.foreign?.text ?? "";
  element("foreign").hidden = !info.foreign?.misleads;

  const link = build("a", "API documentation");
  link.href = "./";
  let storage = "Your pictures are not stored.";
  if (keeps.answers) storage = "Predictions are stored; pictures only if you correct the prediction.";
  if (keeps.pictures) storage = "Pictures and predictions are stored.";
  element("foot").append(`Model ${info.model.version}. ${storage} `, link);

  const coverage = card.thresholds && `confident on ${percent(card.thresholds.coverage)} of the validation images`;
  element("facts").append(
    list([
      ["Network", `${card.architecture}; ${count(card.parameters, "parameter", "parameters")}; ${info.precision}`],
      ["Input", `${SEEN[card.fit]}, ${card.image_size} × ${card.image_size} pixels`],
      ["Selected because", info.reason],
      ["Coverage", coverage],
      ["Out-of-distribution images", info.foreign?.text],
    ]),
    build("h3", `${count(info.classes.length, "class", "classes")}`),
    build("p", info.classes.join(", ")),
    build("h3", "Test images, with 95% confidence intervals"),
    list(Object.keys(SHARES).filter((name) => name in test).map((name) => [SHARES[name], withInterval(test, name)])),
    build("h3", "Provenance"),
    list([
      ["Model", info.model.version],
      ["Commit", info.commit?.slice(0, 12)],
      ["Verified", info.proof && `rebuilt from raw data on ${info.proof.date.slice(0, 10)}`],
      ["Data", info.data.slice(0, 12)],
      ["Versions", Object.entries(info.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
    ]),
    ...(info.model_card ? [build("h3", "Model card"), build("pre", info.model_card)] : []),
  );
  element("open").hidden = false;
  element("open").addEventListener("click", () => element("drawer").showModal());
  element("drawer").addEventListener("click", (event) => {
    if (event.target === element("drawer")) element("drawer").close(); // a click outside the dialog
  });
}
