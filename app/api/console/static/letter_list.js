// @ts-check
// The dead letters that fit a filter: read page by page as they are scrolled to, and chosen one by one.
import { byId, element } from "./elements.js";
import { letters } from "./queue_service.js";
import { inWordsOf } from "./letter_view.js";
import { Trouble } from "./service.js";
import { inTime, texts } from "./texts.js";
import { VirtualList } from "./virtual_list.js";

/** @typedef {import("./queue_service.js").Letter} Letter */

const ROW = 60;

/** Tells by the events `change` (what is read or chosen), `open` (`opened` is to be shown) and `trouble`. */
export class LetterList extends EventTarget {
  /** @type {Letter[]} */ #letters = [];
  /** @type {Set<string>} */ #chosen = new Set();
  /** @type {string | null} */ #next = null;
  /** @type {Promise<void> | null} */ #reading = null;
  #asked = new AbortController();
  #queue = "";
  /** @type {import("./queue_service.js").Filter} */ #filter = {};
  /** @type {Letter | null} */ opened = null;
  /** @type {Trouble | null} */ trouble = null;

  constructor() {
    super();
    const place = byId("letters");
    this.#list = new VirtualList(place, ROW, (index) => this.#row(index), () => this.#readOn());
  }

  /** @type {VirtualList} */ #list;

  /** Begin anew. @param {string} queue @param {import("./queue_service.js").Filter} filter */
  async show(queue, filter) {
    this.#asked.abort();
    this.#asked = new AbortController();
    [this.#queue, this.#filter, this.#letters, this.#next, this.#reading] = [queue, filter, [], "0", null];
    this.#chosen.clear();
    this.#list.clear();
    await this.#readOn();
  }

  /** Of the letters that were read, or all of them after `readAll`. */
  get count() {
    return this.#letters.length;
  }

  /** Whether these are all that fit. */
  get whole() {
    return this.#next === null;
  }

  get chosen() {
    return this.#letters.filter((letter) => this.#chosen.has(letter.sequence_number));
  }

  /** The number of the last one that was read. */
  get last() {
    return this.#letters.at(-1)?.sequence_number;
  }

  /** What stands under `reason` in those that were read. */
  get reasons() {
    return [...new Set(this.#letters.map((letter) => letter.reason))].filter(Boolean).sort();
  }

  /** Read to the end; raises `Trouble`. */
  async readAll() {
    while (!this.whole) {
      await this.#readOn();
      if (this.trouble) throw this.trouble;
    }
  }

  #readOn() {
    if (this.#next === null) return Promise.resolve();
    this.#reading ??= this.#read(this.#asked.signal).finally(() => (this.#reading = null));
    return this.#reading;
  }

  /** @param {AbortSignal} signal */
  async #read(signal) {
    try {
      const page = await letters(this.#queue, this.#filter, String(this.#next), signal);
      if (signal.aborted) return;
      this.trouble = null;
      this.#letters.push(...page.letters);
      this.#next = page.next;
      this.#list.setCount(this.#letters.length);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Trouble)) throw error;
      this.trouble = error;
      this.dispatchEvent(new Event("trouble"));
    }
    this.dispatchEvent(new Event("change"));
  }

  /** @param {number} index */
  #row(index) {
    const letter = this.#letters[index];
    const box = /** @type {HTMLInputElement} */ (element("input"));
    box.type = "checkbox";
    box.checked = this.#chosen.has(letter.sequence_number);
    box.setAttribute("aria-label", texts.chooseLetter(letter.message_id));
    box.addEventListener("change", () => {
      if (box.checked) this.#chosen.add(letter.sequence_number);
      else this.#chosen.delete(letter.sequence_number);
      this.dispatchEvent(new Event("change"));
    });
    const title = element("strong", letter.reason || texts.noReason);
    const more = element("span", inWordsOf([inTime(letter.sent_at), letter.robot_id, letter.message_id]));
    more.className = "hint";
    const open = /** @type {HTMLButtonElement} */ (element("button", title, " ", letter.description, element("br"), more));
    open.type = "button";
    open.addEventListener("click", () => {
      this.opened = letter;
      this.dispatchEvent(new Event("open"));
    });
    const row = element("div", box, open);
    row.className = "letter";
    row.setAttribute("role", "listitem");
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-setsize", this.whole ? String(this.count) : "-1");
    return row;
  }
}
