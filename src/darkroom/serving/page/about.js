// What the service says about itself: one line at the top, all of it in the drawer.

import { count, percent } from "./words.js";

const SHARES = {
  accuracy: "Accuracy",
  macro_precision: "Precision, mean of the classes",
  macro_recall: "Recall, mean of the classes",
  macro_f1: "F1, mean of the classes",
  ece: "Calibration error",
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
  let about = `${card.name} tells ${count(info.classes.length, "class", "classes")} apart`;
  if (test.accuracy !== undefined) about += ` and is right on ${withInterval(test, "accuracy")} of the test pictures`;
  if (test.accuracy !== undefined && info.precision === "int8") about += " (float32; int8 is served)";
  element("about").textContent = about;
  element("hint").textContent = `Up to ${limits.max_megabytes} MB and ${limits.max_megapixels} megapixels a picture`;

  element("foreign").textContent = info.foreign?.text ?? "";
  element("foreign").hidden = !info.foreign?.misleads;

  const link = build("a", "Interface for programs");
  link.href = "./";
  let kept = "Pictures are answered here and not kept.";
  if (keeps.answers) kept = "Answers are kept here, pictures only when you correct one.";
  if (keeps.pictures) kept = "Pictures and answers are kept here.";
  element("foot").append(`Model ${info.model.version}. ${kept} `, link);

  const doubt = card.doubt && `confident in ${percent(card.doubt.coverage)} of the validation pictures`;
  element("facts").append(
    list([
      ["Network", `${card.architecture}; ${count(card.parameters, "number", "numbers")} learnt; ${info.precision}`],
      ["Picture", `the central square, ${card.image_size} × ${card.image_size} pixels`],
      ["Served because", info.reason],
      ["Doubt", doubt],
      ["Foreign images", info.foreign?.text],
    ]),
    build("h3", `${count(info.classes.length, "class", "classes")}`),
    build("p", info.classes.join(", ")),
    build("h3", "On test pictures, 95% intervals in brackets"),
    list(Object.keys(SHARES).filter((name) => name in test).map((name) => [SHARES[name], withInterval(test, name)])),
    build("h3", "Made from"),
    list([
      ["Model", info.model.version],
      ["Commit", info.commit?.slice(0, 12)],
      ["Data", info.data.slice(0, 12)],
      ["Versions", Object.entries(info.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
    ]),
    ...(info.model_card ? [build("h3", "Model card"), build("pre", info.model_card)] : []),
  );
  element("open").hidden = false;
  element("open").addEventListener("click", () => element("drawer").showModal());
  element("drawer").addEventListener("click", (event) => {
    if (event.target === element("drawer")) element("drawer").close(); // a click beside it
  });
}
