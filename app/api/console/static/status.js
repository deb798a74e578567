// @ts-check
// Whether the service is ready, asked again and again while the page is looked at.
import { readiness } from "./service.js";

const SECONDS = 10;
const SECONDS_AWAY = 2;

/** Show it in `element`; `onReturn` is called when it answers again after it did not.
 * @param {HTMLElement} element @param {() => void} onReturn */
export function watchStatus(element, onReturn) {
  let gone = false;
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    const { answers, ready, sentence } = await readiness();
    if (element.textContent !== sentence) element.textContent = sentence;
    element.dataset.state = answers ? (ready ? "ready" : "waiting") : "away";
    if (ready && gone) onReturn();
    gone = !ready;
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, (ready ? SECONDS : SECONDS_AWAY) * 1000);
  };
  document.addEventListener("visibilitychange", () => document.hidden || look());
  look();
  return look;
}
