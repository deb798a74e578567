// @ts-check
// Small steps of building a page.

/** @template {HTMLElement} T @param {string} id @returns {T} */
export const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @param {string} tag @param {(Node | string)[]} children */
export function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/** Say a sentence where there is room for it, or take it away.
 * @param {HTMLElement} place @param {string} sentence */
export function say(place, sentence) {
  place.textContent = sentence;
  place.hidden = !sentence;
}
