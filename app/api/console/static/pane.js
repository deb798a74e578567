// @ts-check
// One model's answer to the picture: drawn, listed, as JSON, and as calls to copy. Two of them are a comparison.
import { asText, filtered, inWords, marksOf, summary } from "./answer.js";
import { curlCall, pythonCall } from "./calls.js";
import { readClassMap } from "./class_map.js";
import { colour } from "./colours.js";
import { predict, Trouble } from "./service.js";
import { Stage } from "./stage.js";
import { fillIn, texts } from "./texts.js";
import { readValueMap } from "./value_map.js";

/** @typedef {import("./service.js").Target} Target */
/** @typedef {import("./picture.js").Picture} Picture */

/** What an answer has to lie over the picture. @param {any} prediction */
function mapOf({ segmentation, maps }) {
  if (segmentation) return readClassMap(segmentation);
  return maps?.length ? readValueMap(maps[0]) : null;
}

const MOST_LISTED = 300;
const ZOOMS = /** @type {Record<string, number>} */ ({ in: 1.5, out: 1 / 1.5 });

export class Pane {
  /** @type {Target[]} */ #targets = [];
  /** @type {Picture | null} */ #picture = null;
  /** @type {any} */ #prediction = null;
  /** @type {import("./class_map.js").ClassMap | null} */ #map = null;
  #threshold = 0.5;
  #asked = new AbortController();

  /** @param {import("./view.js").View} view  Shared with whom it is compared with.
   * @param {(trouble: Trouble) => void} onTrouble */
  constructor(view, onTrouble) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("pane"));
    const fragment = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    fillIn(fragment);
    this.element = /** @type {HTMLElement} */ (fragment.firstElementChild);
    this.#select = this.#find("select");
    this.#stage = new Stage(this.#find("canvas"), this.#find(".tip"), view);
    this.#onTrouble = onTrouble;
    this.#select.addEventListener("change", () => this.ask());
    for (const button of this.element.querySelectorAll("button")) {
      const { zoom, copy } = button.dataset;
      if (copy) button.addEventListener("click", () => this.#copy(button, copy));
      else if (zoom) button.addEventListener("click", () => (zoom in ZOOMS ? view.zoomBy(ZOOMS[zoom]) : view.fit()));
    }
    this.#show();
  }

  /** @type {HTMLSelectElement} */ #select;
  /** @type {Stage} */ #stage;
  /** @type {(trouble: Trouble) => void} */ #onTrouble;

  /** Offer these; what was chosen stays chosen where it is still there, else the one at `first`.
   * @param {Target[]} targets @param {number} first */
  offer(targets, first) {
    const chosen = this.#select.selectedOptions[0]?.textContent;
    const names = targets.map(({ name, version }) => (version === null ? name : texts.versionOf(name, version)));
    this.#targets = targets;
    this.#select.replaceChildren(...names.map((name, index) => new Option(name, String(index))));
    const kept = names.indexOf(chosen ?? "");
    this.#select.value = String(kept >= 0 ? kept : Math.min(first, names.length - 1));
  }

  /** Whether its model has a threshold. */
  get filters() {
    return this.#target?.task === "detection";
  }

  /** Whether there is an answer to its picture. */
  get answered() {
    return this.#prediction !== null;
  }

  /** @param {Picture} picture */
  setPicture(picture) {
    this.#picture = picture;
    this.#stage.setPicture(picture);
    return this.ask();
  }

  /** @param {number} threshold  Filters what is shown; asks nothing. */
  setThreshold(threshold) {
    this.#threshold = threshold;
    this.#show();
  }

  /** Ask the model that is chosen about the picture; what was asked before is given up. */
  async ask() {
    this.#asked.abort();
    const asked = new AbortController();
    this.#asked = asked;
    this.#prediction = this.#map = null;
    this.#say("");
    this.#show();
    const target = this.#target;
    if (!this.#picture || !target) return;
    this.#find(".summary").textContent = texts.asking;
    try {
      const prediction = await predict(target, this.#picture, asked.signal);
      const map = await mapOf(prediction);
      if (asked.signal.aborted) return;
      this.#prediction = prediction;
      this.#map = map;
      this.#show();
    } catch (error) {
      if (asked.signal.aborted) return;
      this.#show();
      const trouble = error instanceof Trouble ? error : new Trouble(texts.strangeAnswer);
      this.#say(trouble.message);
      this.#onTrouble(trouble);
    }
  }

  get #target() {
    return this.#targets[Number(this.#select.value)];
  }

  #show() {
    const shown = this.#prediction && filtered(this.#prediction, this.#threshold);
    const marks = shown ? marksOf(shown) : [];
    this.#stage.setFound(marks, this.#map);
    this.#find(".summary").textContent = shown ? summary(shown, this.#prediction) : this.#picture ? "" : texts.pressed;
    this.#find(".json").textContent = shown ? asText(shown) : "";
    this.#list(marks);
    const [target, picture] = [this.#target, this.#picture];
    const calls = target && picture ? [curlCall, pythonCall] : [];
    const [curl, python] = calls.map((call) => call(target, /** @type {Picture} */ (picture), this.#threshold));
    this.#find(".curl").textContent = curl ?? "";
    this.#find(".python").textContent = python ?? "";
  }

  /** @param {import("./answer.js").Mark[]} marks */
  #list(marks) {
    const rows = marks.slice(0, MOST_LISTED).map((mark) => {
      const row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = inWords(mark);
      button.style.borderLeftColor = colour(mark.classId);
      for (const on of ["focus", "pointerenter"]) button.addEventListener(on, () => this.#stage.point(mark));
      for (const off of ["blur", "pointerleave"]) button.addEventListener(off, () => this.#stage.point(null));
      row.append(button);
      return row;
    });
    if (marks.length > MOST_LISTED) {
      const rest = document.createElement("li");
      rest.textContent = texts.more(marks.length - MOST_LISTED);
      rows.push(rest);
    }
    this.#find(".found").replaceChildren(...rows);
  }

  /** @param {string} sentence */
  #say(sentence) {
    const place = this.#find(".trouble");
    place.textContent = sentence;
    place.hidden = !sentence;
  }

  /** @param {HTMLButtonElement} button @param {string} what */
  async #copy(button, what) {
    try {
      await navigator.clipboard.writeText(this.#find(`.${what}`).textContent ?? "");
      button.textContent = texts.copied;
    } catch {
      button.textContent = texts.copyFailed;
    }
  }

  /** @template {HTMLElement} T @param {string} selector @returns {T} */
  #find(selector) {
    return /** @type {T} */ (this.element.querySelector(selector));
  }
}
