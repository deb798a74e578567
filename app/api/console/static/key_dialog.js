// @ts-check
// Asks for the API key once, and keeps it in this tab.
import { byId } from "./elements.js";
import { key } from "./service.js";
import { texts } from "./texts.js";

/** @type {HTMLDialogElement} */ const dialog = byId("key-dialog");
/** @type {HTMLInputElement} */ const input = byId("key-input");
/** @type {HTMLButtonElement} */ const button = byId("key");
const trouble = byId("key-trouble");

/** Whoever gives or forgets a key has `onChange` called.
 * @param {() => void} onChange */
export function installKey(onChange) {
  const changed = () => {
    button.textContent = key.get() === null ? texts.keyGive : texts.keyForget;
    onChange();
  };
  button.textContent = key.get() === null ? texts.keyGive : texts.keyForget;
  button.addEventListener("click", () => {
    if (key.get() === null) {
      askForKey("");
      return;
    }
    key.forget();
    changed();
  });
  dialog.querySelector("form")?.addEventListener("submit", (event) => {
    const value = input.value.trim();
    if (event.submitter instanceof HTMLButtonElement && event.submitter.value !== "use") return;
    if (!/^[\x21-\x7e]+$/.test(value)) {
      event.preventDefault();
      say(texts.keyShape);
      return;
    }
    key.set(value);
    input.value = "";
    changed();
  });
}

/** @param {string} why  What was wrong with the last one. */
export function askForKey(why) {
  say(why);
  input.value = "";
  if (!dialog.open) dialog.showModal();
}

/** @param {string} sentence */
function say(sentence) {
  trouble.textContent = sentence;
  trouble.hidden = !sentence;
}
