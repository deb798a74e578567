// @ts-check
// "Try it": a picture, one model or two beside each other, and a threshold.
import { byId } from "./elements.js";
import { askForKey } from "./key_dialog.js";
import { Pane } from "./pane.js";
import { readPicture } from "./picture.js";
import { exampleFile, examples, key, targets, Trouble } from "./service.js";
import { installSources } from "./sources.js";
import { inBytes, texts } from "./texts.js";
import { View } from "./view.js";

export class TryIt {
  #view = new View();
  /** @type {Pane[]} */ #panes = [];
  /** @type {import("./service.js").Target[]} */ #targets = [];
  /** @type {import("./picture.js").Picture | null} */ #picture = null;
  #taken = 0;

  constructor() {
    installSources([byId("file"), byId("camera")], (file) => this.#take(file));
    const slider = /** @type {HTMLInputElement} */ (byId("threshold"));
    const show = () => {
      byId("threshold-value").textContent = slider.valueAsNumber.toFixed(2);
      for (const pane of this.#panes) pane.setThreshold(slider.valueAsNumber);
    };
    slider.addEventListener("input", show);
    byId("compare").addEventListener("click", () => this.#compare());
    byId("again").addEventListener("click", () => this.#askAgain());
    byId("panes").addEventListener("change", () => this.#enableThreshold());
    this.#addPane();
    show();
  }

  /** Ask what is served, and which examples there are; at the beginning, with another key, and after a restart. */
  async load() {
    try {
      this.#targets = await targets();
      this.#say(this.#targets.length ? "" : texts.noModels);
      this.#panes.forEach((pane, index) => pane.offer(this.#targets, index));
      this.#enableThreshold();
      this.#offerExamples(await examples());
      await Promise.all(this.#panes.filter((pane) => !pane.answered).map((pane) => pane.ask()));
    } catch (error) {
      this.#trouble(error);
    }
  }

  #addPane() {
    const pane = new Pane(this.#view, (trouble) => this.#demandKey(trouble));
    pane.offer(this.#targets, this.#panes.length);
    pane.setThreshold(/** @type {HTMLInputElement} */ (byId("threshold")).valueAsNumber);
    this.#panes.push(pane);
    byId("panes").append(pane.element);
    if (this.#picture) pane.setPicture(this.#picture);
  }

  #enableThreshold() {
    byId("threshold").toggleAttribute("disabled", !this.#panes.some((pane) => pane.filters));
  }

  #compare() {
    if (this.#panes.length === 1) this.#addPane();
    else this.#panes.pop()?.element.remove();
    this.#enableThreshold();
    byId("compare").setAttribute("aria-pressed", String(this.#panes.length > 1));
  }

  async #askAgain() {
    this.#say("");
    await Promise.all(this.#panes.map((pane) => pane.ask()));
  }

  /** @param {import("./service.js").Example[]} found */
  #offerExamples(found) {
    const place = byId("examples");
    const title = document.createElement("span");
    title.textContent = texts.examples;
    const buttons = found.map((example) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = example.name;
      button.addEventListener("click", () => this.#take(exampleFile(example)));
      return button;
    });
    place.replaceChildren(title, ...buttons);
    place.hidden = !found.length;
  }

  /** @param {File | Trouble | Promise<File>} given */
  async #take(given) {
    const turn = (this.#taken += 1);
    this.#say("");
    try {
      const file = await given;
      if (file instanceof Trouble) throw file;
      const picture = await readPicture(file);
      if (turn !== this.#taken) return; // another one was taken meanwhile
      this.#show(picture);
    } catch (error) {
      if (turn === this.#taken) this.#trouble(error);
    }
  }

  /** @param {import("./picture.js").Picture} picture */
  #show(picture) {
    this.#picture?.bitmap?.close();
    this.#picture = picture;
    this.#view.fit();
    const bytes = inBytes(picture.blob.size);
    const size = picture.bitmap ? texts.pictureSize(picture.width, picture.height, bytes) : bytes;
    byId("picture").textContent = texts.picture(picture.name, size);
    byId("again").toggleAttribute("disabled", false);
    this.#say(picture.trouble);
    for (const pane of this.#panes) pane.setPicture(picture);
  }

  /** @param {unknown} error */
  #trouble(error) {
    if (!(error instanceof Trouble)) throw error;
    this.#say(error.message);
    this.#demandKey(error);
  }

  /** @param {Trouble} trouble */
  #demandKey(trouble) {
    if (trouble.status === 401) askForKey(key.get() === null ? "" : trouble.message);
  }

  /** @param {string} sentence */
  #say(sentence) {
    const place = byId("trouble");
    place.textContent = sentence;
    place.hidden = !sentence;
  }
}
