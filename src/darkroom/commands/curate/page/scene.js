// The images of a scene, some of which can be marked.

const DIGITS = "1234567890";
const MOST = 100; // images that are shown
const place = document.querySelector("#scene ul");
const buttons = () => [...place.querySelectorAll("button")];

// Show the images, and return promises that end when they are visible. `changed` is called after each mark.
export function showScene({ scene, label }, small, changed) {
  place.classList.toggle("small", small);
  const shown = scene.slice(0, MOST);
  place.replaceChildren(...shown.map(({ row, image, split }, number) => {
    const [item, button, picture, name, key] = ["li", "button", "img", "span", "kbd"]
      .map((tag) => document.createElement(tag));
    picture.src = `row/${row}`;
    picture.alt = `${image}, ${label}`;
    name.textContent = split;
    button.type = "button";
    button.title = image;
    button.ariaPressed = "false";
    button.append(picture, name);
    if (number < DIGITS.length) {
      key.textContent = DIGITS[number];
      button.append(key);
    }
    button.addEventListener("click", () => {
      button.ariaPressed = String(button.ariaPressed !== "true");
      changed();
    });
    item.append(button);
    return item;
  }));
  const more = document.getElementById("scene-more");
  more.textContent = `and ${(scene.length - shown.length).toLocaleString("en")} more`;
  more.hidden = shown.length === scene.length;
  return [...place.querySelectorAll("img")].map((image) => image.decode());
}

// The places of the marked images.
export function marked() {
  return buttons().flatMap((button, number) => (button.ariaPressed === "true" ? [number] : []));
}

// Handle a key that marks an image or goes to another one; return whether it is one.
export function markedByKey(key) {
  const all = buttons();
  all[DIGITS.indexOf(key)]?.click();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (step) {
    const focused = all.indexOf(document.activeElement);
    all.at(focused < 0 && step < 0 ? -1 : (focused + step) % all.length).focus();
  }
  return Boolean(step) || DIGITS.includes(key);
}
