// @ts-check
// A list of which only the rows in sight are in the page: ten thousand scroll as ten do.
import { element } from "./elements.js";

const SPARE = 8;

/** Rows of one height in an element that scrolls. They are kept while they are in sight, and so is the focus in them. */
export class VirtualList {
  #count = 0;
  /** @type {Map<number, HTMLElement>} */ #rows = new Map();
  #due = false;

  /** @param {HTMLElement} scrolled @param {number} height  Of a row, in pixels.
   * @param {(index: number) => HTMLElement} makeRow
   * @param {() => void} onEnd  The last rows are in sight: there may be more. */
  constructor(scrolled, height, makeRow, onEnd) {
    this.#scrolled = scrolled;
    this.#height = height;
    this.#makeRow = makeRow;
    this.#onEnd = onEnd;
    this.#space = element("div");
    this.#space.className = "space";
    this.#space.setAttribute("role", "presentation");
    scrolled.append(this.#space);
    scrolled.addEventListener("scroll", () => this.#later());
    new ResizeObserver(() => this.#later()).observe(scrolled);
  }

  /** @type {HTMLElement} */ #scrolled;
  /** @type {HTMLElement} */ #space;
  /** @type {number} */ #height;
  /** @type {(index: number) => HTMLElement} */ #makeRow;
  /** @type {() => void} */ #onEnd;

  /** How many rows there are; those that were made stay.
   * @param {number} count */
  setCount(count) {
    this.#count = count;
    this.#space.style.height = `${count * this.#height}px`;
    this.#later();
  }

  /** Other rows altogether: begin at the top. */
  clear() {
    for (const row of this.#rows.values()) row.remove();
    this.#rows.clear();
    this.#scrolled.scrollTop = 0;
    this.setCount(0);
  }

  /** Make the rows in sight anew. */
  refresh() {
    for (const [index, row] of this.#rows) {
      const fresh = this.#place(index);
      if (!row.contains(document.activeElement)) row.replaceWith(fresh), this.#rows.set(index, fresh);
    }
  }

  #later() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#show();
    });
  }

  #show() {
    const { scrollTop, clientHeight } = this.#scrolled;
    if (!clientHeight) return;
    const first = Math.max(0, Math.floor(scrollTop / this.#height) - SPARE);
    const last = Math.min(this.#count, Math.ceil((scrollTop + clientHeight) / this.#height) + SPARE);
    for (const [index, row] of this.#rows) {
      if ((index >= first && index < last) || row.contains(document.activeElement)) continue;
      row.remove();
      this.#rows.delete(index);
    }
    for (let index = first; index < last; index += 1) if (!this.#rows.has(index)) this.#insert(index);
    if (last === this.#count) this.#onEnd();
  }

  /** In the order of the list, for those who go from row to row by Tab.
   * @param {number} index */
  #insert(index) {
    const row = this.#place(index);
    const after = [...this.#rows.keys()].filter((other) => other > index).sort((one, other) => one - other)[0];
    this.#space.insertBefore(row, after === undefined ? null : (this.#rows.get(after) ?? null));
    this.#rows.set(index, row);
  }

  /** @param {number} index */
  #place(index) {
    const row = this.#makeRow(index);
    row.style.transform = `translateY(${index * this.#height}px)`;
    row.style.height = `${this.#height}px`;
    return row;
  }
}
