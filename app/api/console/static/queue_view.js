// @ts-check
// "Queue": what waits and what is held; dead letters, which operators send again or drop; what operators did.
import { byId, element, say } from "./elements.js";
import { askForKey } from "./key_dialog.js";
import { LetterList } from "./letter_list.js";
import { LetterView } from "./letter_view.js";
import { OrderDialog } from "./order_dialog.js";
import { audit, queues, session } from "./queue_service.js";
import { key, targets, Trouble } from "./service.js";
import { inTime, texts } from "./texts.js";

const OPERATORS = ["operator", "admin"];
const MOST_CHOSEN = 1000;
const MOST_AUDITED = 50;

/** @type {HTMLFormElement} */ const filterForm = byId("letters-filter");
/** @type {HTMLSelectElement} */ const queueSelect = byId("letters-queue");

export class QueueView {
  #list = new LetterList();
  #letter = new LetterView();
  #order = new OrderDialog(() => this.load());
  /** @type {import("./queue_service.js").Queue[]} */ #queues = [];
  #mayOperate = false;

  constructor() {
    filterForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#showLetters();
    });
    queueSelect.addEventListener("change", () => this.#showLetters());
    this.#list.addEventListener("change", () => this.#tell());
    this.#list.addEventListener("trouble", () => this.#trouble(this.#list.trouble));
    this.#list.addEventListener("open", () => {
      if (this.#list.opened) this.#letter.show(queueSelect.value, this.#list.opened);
    });
    for (const what of /** @type {const} */ (["resubmit", "drop"])) {
      byId(`${what}-chosen`).addEventListener("click", () => this.#askAbout(what, false));
      byId(`${what}-all`).addEventListener("click", () => this.#askAbout(what, true));
    }
  }

  /** Ask again, where the view is looked at. */
  async load() {
    try {
      const { queues: there, role } = await session();
      byId("queue-link").hidden = !there;
      this.#mayOperate = OPERATORS.includes(role);
      if (byId("queue-view").hidden) return;
      if (!there) throw new Trouble(texts.noQueue);
      this.#say("");
      this.#offer(await queues());
      await Promise.all([this.#showLetters(), this.#showAudit()]);
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** @param {import("./queue_service.js").Queue[]} found */
  #offer(found) {
    this.#queues = found;
    const chosen = queueSelect.value;
    queueSelect.replaceChildren(...found.map(({ queue }) => new Option(queue, queue)));
    if (found.some(({ queue }) => queue === chosen)) queueSelect.value = chosen;
    byId("queues").replaceChildren(...found.map(queueRow));
  }

  async #showLetters() {
    this.#letter.close();
    await this.#list.show(queueSelect.value, this.#filter());
  }

  #filter() {
    const fields = new FormData(filterForm);
    /** @type {import("./queue_service.js").Filter} */ const filter = {};
    for (const name of ["reason", "robot_id", "sent_after", "sent_before"]) {
      const value = String(fields.get(name) ?? "").trim();
      if (value) filter[name] = name.startsWith("sent") ? new Date(value).toISOString() : value;
    }
    return filter;
  }

  #tell() {
    const { count, whole, chosen, reasons } = this.#list;
    byId("letters-count").textContent = texts.lettersCount(count, whole, chosen.length);
    byId("letters-reasons").replaceChildren(...reasons.map((reason) => new Option(reason)));
    for (const what of ["resubmit", "drop"]) {
      byId(`${what}-chosen`).toggleAttribute("disabled", !this.#mayOperate || !chosen.length);
      byId(`${what}-all`).toggleAttribute("disabled", !this.#mayOperate || !count);
    }
    byId("viewer-hint").hidden = this.#mayOperate;
  }

  /** What is asked about is what was seen: letters that die meanwhile are not meant.
   * @param {"resubmit" | "drop"} what @param {boolean} all */
  async #askAbout(what, all) {
    try {
      if (all) await this.#list.readAll();
      const chosen = this.#list.chosen.slice(0, MOST_CHOSEN).map((letter) => letter.sequence_number);
      const which = all ? { matching: this.#filter(), up_to: this.#list.last } : { numbers: chosen };
      const queue = queueSelect.value;
      const topic = this.#queues.find((one) => one.queue === queue)?.topic ?? null;
      const models = [...new Set((await targets()).map(({ name }) => name))];
      this.#order.ask(what, { queue, topic, count: all ? this.#list.count : chosen.length, which }, models);
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #showAudit() {
    const entries = (await audit()).slice(0, MOST_AUDITED);
    byId("audit").replaceChildren(...entries.map(({ at, caller, action, ...what }) => {
      const more = Object.keys(what).length ? JSON.stringify(what) : "";
      return element("li", `${inTime(String(at))} · ${caller} · ${action} ${more}`);
    }));
    byId("audit-none").hidden = entries.length > 0;
  }

  /** @param {unknown} error */
  #trouble(error) {
    if (!(error instanceof Trouble)) throw error;
    this.#say(error.message);
    if (error.status === 401 && !byId("queue-view").hidden) askForKey(key.get() === null ? "" : error.message);
  }

  /** @param {string} sentence */
  #say(sentence) {
    say(byId("queue-trouble"), sentence);
  }
}

/** @param {import("./queue_service.js").Queue} queue */
function queueRow(queue) {
  const count = (/** @type {string} */ state) => String(queue.depth[state] ?? texts.notTold);
  const state = [queue.state, queue.reason, queue.halted].filter(Boolean).join(": ");
  const cells = [
    queue.queue,
    state,
    count("active"),
    count("dead_letter"),
    String(queue.held),
    texts.seconds(queue.oldest_age_seconds),
    String(queue.credit),
  ];
  return element("tr", ...cells.map((cell) => element("td", cell)));
}
