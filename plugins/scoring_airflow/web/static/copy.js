// Buttons that copy the text in their data-copy; they are there only where this runs.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copied(button.dataset.copy, button)); // in scoring.js
}
