// Keys and boxes of the review page.
const SVG = "http://www.w3.org/2000/svg";
let drawn = null;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest?.("input, select, textarea")) return;
  document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`)?.click();
});

function imagePoint(frame, event) {
  const [width, height] = frame.dataset.draw.split(" ").map(Number);
  const edges = frame.querySelector(".layers").getBoundingClientRect();
  const share = (value, low, size) => Math.min(1, Math.max(0, (value - low) / size));
  return [
    Math.round(width * share(event.clientX, edges.left, edges.width)),
    Math.round(height * share(event.clientY, edges.top, edges.height)),
  ];
}

function place(box, from, to) {
  box.setAttribute("x", Math.min(from[0], to[0]));
  box.setAttribute("y", Math.min(from[1], to[1]));
  box.setAttribute("width", Math.abs(from[0] - to[0]));
  box.setAttribute("height", Math.abs(from[1] - to[1]));
}

function keepBoxes() {
  const names = ["x", "y", "width", "height"];
  const boxes = [...document.querySelectorAll("rect.box")].map((box) =>
    names.map((name) => Number(box.getAttribute(name))),
  );
  const field = document.querySelector("[data-boxes]");
  if (field) field.value = JSON.stringify(boxes);
}

document.addEventListener("pointerdown", (event) => {
  const layers = event.target.closest?.("[data-draw] .layers");
  if (!layers || event.button !== 0) return;
  event.preventDefault();
  const frame = layers.closest("[data-draw]");
  const box = document.createElementNS(SVG, "rect");
  box.setAttribute("class", "box");
  layers.querySelector("svg").append(box);
  drawn = { frame, box, from: imagePoint(frame, event) };
  place(box, drawn.from, drawn.from);
});
document.addEventListener("pointermove", (event) => {
  if (drawn) place(drawn.box, drawn.from, imagePoint(drawn.frame, event));
});
document.addEventListener("pointerup", (event) => {
  if (!drawn) return;
  place(drawn.box, drawn.from, imagePoint(drawn.frame, event));
  // A mere touch draws nothing.
  if (Number(drawn.box.getAttribute("width")) < 2 || Number(drawn.box.getAttribute("height")) < 2) {
    drawn.box.remove();
  }
  drawn = null;
  keepBoxes();
});
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-clear-boxes]")) return;
  for (const box of document.querySelectorAll("rect.box")) box.remove();
  keepBoxes();
});
