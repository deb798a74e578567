// @ts-check
// The ways by which a picture comes: chosen, photographed, dropped, pasted.
import { texts } from "./texts.js";
import { Trouble } from "./service.js";

/** @param {HTMLInputElement[]} inputs @param {(file: File | Trouble) => void} onFile */
export function installSources(inputs, onFile) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      if (input.files?.length) onFile(input.files[0]);
      input.value = ""; // the same file may be chosen again
    });
  }
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
    onFile(event.dataTransfer?.files[0] ?? new Trouble(texts.notAFile));
  });
  document.addEventListener("paste", (event) => {
    if (event.target instanceof HTMLInputElement) return;
    onFile(event.clipboardData?.files[0] ?? new Trouble(texts.notAFile));
  });
}
