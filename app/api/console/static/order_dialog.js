// @ts-check
// Asks before letters are sent again or dropped, and shows how far it is.
import { byId, element, say } from "./elements.js";
import { workOff } from "./queue_service.js";
import { Trouble } from "./service.js";
import { texts } from "./texts.js";

const MOST_TOLD = 50;

/** @type {HTMLDialogElement} */ const dialog = byId("order-dialog");
/** @type {HTMLFormElement} */ const form = byId("order-form");
/** @type {HTMLProgressElement} */ const bar = byId("order-bar");

/** @typedef {{queue: string, topic: string | null, count: number, which: object}} Meant
 * Letters of a queue: how many, and which, in the API's words. */

export class OrderDialog {
  /** @type {Meant | null} */ #meant = null;
  /** @type {"resubmit" | "drop"} */ #what = "resubmit";
  #busy = false;
  #begun = false;

  /** @param {() => void} onDone  The dialog is closed, and letters may have gone. */
  constructor(onDone) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#begin();
    });
    byId("order-cancel").addEventListener("click", () => dialog.close());
    dialog.addEventListener("cancel", (event) => this.#busy && event.preventDefault());
    dialog.addEventListener("close", () => this.#begun && onDone());
  }

  /** @param {"resubmit" | "drop"} what @param {Meant} meant @param {string[]} models  Those that may be asked instead. */
  ask(what, meant, models) {
    [this.#what, this.#meant] = [what, meant];
    this.#begun = false;
    form.reset();
    byId("order-title").textContent = texts.orderTitle[what](meant.count);
    byId("order-resubmit").hidden = what !== "resubmit";
    byId("order-drop").hidden = what !== "drop";
    byId("order-reason").toggleAttribute("required", what === "drop");
    byId("order-topic").hidden = what !== "resubmit" || meant.topic === null;
    byId("order-topic").textContent = texts.toTopic(meant.topic ?? "");
    const names = models.map((name) => new Option(name, name));
    byId("order-model").replaceChildren(new Option(texts.asSent, ""), ...names);
    byId("order-ok").textContent = texts.orderDo[what];
    byId("order-ok").hidden = false;
    byId("order-cancel").textContent = texts.cancel;
    byId("order-progress").hidden = true;
    byId("order-stay").replaceChildren();
    say(byId("order-trouble"), "");
    dialog.showModal();
  }

  async #begin() {
    const meant = /** @type {Meant} */ (this.#meant);
    this.#lock(true);
    say(byId("order-trouble"), "");
    byId("order-progress").hidden = false;
    const progress = new Progress(meant.count);
    try {
      await workOff(this.#what, { queue: meant.queue, ...meant.which, ...this.#said(meant) }, (step) => progress.take(step));
      this.#begun = true;
      byId("order-ok").hidden = true;
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      say(byId("order-trouble"), error.message);
      this.#begun = progress.begun;
      byId("order-progress").hidden = !progress.begun;
      byId("order-ok").hidden = progress.begun;
    }
    this.#lock(false);
    byId("order-cancel").textContent = texts.close;
    byId("order-cancel").focus();
  }

  /** What the form says, in the API's words. @param {Meant} meant */
  #said(meant) {
    const fields = new FormData(form);
    const value = (/** @type {string} */ name) => String(fields.get(name) ?? "").trim();
    if (this.#what === "drop") return { reason: value("reason") };
    const options = {
      ...(value("model") && { model: value("model") }),
      ...(value("version") && { version: value("version") }),
      ...(value("score_threshold") && { score_threshold: Number(value("score_threshold")) }),
    };
    const window = value("duplicate_window");
    return { options, to_topic: meant.topic !== null, ...(window && { duplicate_window: Number(window) }) };
  }

  /** @param {boolean} busy */
  #lock(busy) {
    this.#busy = busy;
    for (const id of ["order-ok", "order-cancel"]) byId(id).toggleAttribute("disabled", busy);
  }
}

class Progress {
  #gone = 0;
  #stay = 0;
  begun = false;

  /** @param {number} total */
  constructor(total) {
    this.#total = total;
    this.#show();
  }

  /** @type {number} */ #total;

  /** @param {import("./queue_service.js").Step} step */
  take(step) {
    this.begun = true;
    if (step.total !== undefined) this.#total = step.total;
    else if (step.done === undefined && step.sequence_number === undefined) say(byId("order-trouble"), step.trouble ?? "");
    else if (step.done === undefined) this.#count(step);
    this.#show();
  }

  /** @param {import("./queue_service.js").Step} step */
  #count({ sequence_number: number, trouble }) {
    if (!trouble) {
      this.#gone += 1;
      return;
    }
    this.#stay += 1;
    if (this.#stay <= MOST_TOLD) byId("order-stay").append(element("li", `${number}: ${trouble}`));
  }

  #show() {
    bar.max = Math.max(1, this.#total);
    bar.value = this.#gone + this.#stay;
    byId("order-told").textContent = texts.orderTold(this.#gone, this.#stay, this.#total);
  }
}
