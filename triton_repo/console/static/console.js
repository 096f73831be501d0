// What the pages do in the browser beside htmx.
const trouble = document.getElementById("trouble");

function say(sentence) {
  trouble.textContent = sentence;
  trouble.hidden = !sentence;
}

// htmx, which came first, takes its buttons at this same moment.
document.addEventListener("DOMContentLoaded", () => {
  document.body.dataset.isReady = "";
});

// Each change carries the secret of this page's session.
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF-Token"] = document.body.dataset.csrf ?? "";
});
document.addEventListener("htmx:responseError", (event) => say(event.detail.xhr.responseText));
document.addEventListener("htmx:sendError", () => say("The console does not answer."));
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) say("");
});

// A stream that breaks is taken up again by itself; meanwhile nobody shall take the page for live.
let isStreamBroken = false;
document.addEventListener("htmx:sseError", () => {
  isStreamBroken = true;
  say("The console does not answer; what stands here is not live. It is tried again.");
});
document.addEventListener("htmx:sseOpen", () => {
  if (isStreamBroken) say("");
  isStreamBroken = false;
});
document.addEventListener("htmx:sseMessage", (event) => {
  if (event.detail.type === "signed-out") location.reload();
});

// A heat map that is missing is not one without heat.
function tellMissing(image) {
  if (image.hasAttribute("data-may-miss")) image.classList.add("missing");
  if (image.hasAttribute("data-heat")) {
    image.hidden = true;
    const words = image.closest("[data-look]")?.querySelector("[data-no-heat]");
    if (words) words.hidden = false;
  }
}
document.addEventListener(
  "error",
  (event) => {
    if (event.target instanceof HTMLImageElement) tellMissing(event.target);
  },
  true,
);
// Some may have failed before this script was there to hear of it.
for (const image of document.images) {
  if (image.complete && image.naturalWidth === 0 && image.loading !== "lazy") tellMissing(image);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-toggle-heat]");
  if (!button) return;
  const isShown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isShown));
  for (const look of document.querySelectorAll("[data-look]")) {
    look.classList.toggle("without-heat", !isShown);
  }
});
