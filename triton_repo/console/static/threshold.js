// The slider of the threshold page, its number, and the line over the scores.
document.addEventListener("input", (event) => {
  const form = event.target.closest?.("[data-threshold]");
  if (!form) return;
  const number = form.elements.namedItem("image_score");
  const slider = form.querySelector("[data-slide]");
  if (event.target === slider) number.value = Number(slider.value).toPrecision(6);
  if (event.target === number) slider.value = number.value;
  const [lowest, highest] = form.dataset.threshold.split(" ").map(Number);
  const x = (600 * (Number(number.value) - lowest)) / (highest - lowest);
  const line = form.querySelector("[data-wished]");
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
});
