// Polygons that are drawn on a picture: touches become corners in a text, and the console draws it.
function textOf(form) {
  return form.elements.namedItem(form.elements.namedItem("kind").value);
}

function change(text, value) {
  text.value = value;
  text.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("click", (event) => {
  const layers = event.target.closest?.("[data-area]");
  const form = document.querySelector("[data-area]")?.closest(".two").querySelector("form");
  if (!form) return;
  const text = textOf(form);
  if (layers) {
    const [width, height] = layers.dataset.area.split(" ").map(Number);
    const edges = layers.querySelector("img").getBoundingClientRect();
    const x = Math.round((width * (event.clientX - edges.left)) / edges.width);
    const y = Math.round((height * (event.clientY - edges.top)) / edges.height);
    const corner = `${Math.min(Math.max(x, 0), width)},${Math.min(Math.max(y, 0), height)}`;
    change(text, text.value && !text.value.endsWith("\n") ? `${text.value} ${corner}` : text.value + corner);
  } else if (event.target.closest?.("[data-next-polygon]")) {
    if (text.value && !text.value.endsWith("\n")) change(text, `${text.value}\n`);
  } else if (event.target.closest?.("[data-undo-corner]")) {
    change(text, text.value.replace(/\s*\S+\s*$/, ""));
  }
});
