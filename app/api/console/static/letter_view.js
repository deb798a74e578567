// @ts-check
// One dead letter: its picture, and all that was said of it.
import { byId, element, say } from "./elements.js";
import { readPicture } from "./picture.js";
import { letterPicture, wholeLetter } from "./queue_service.js";
import { Trouble } from "./service.js";
import { Stage } from "./stage.js";
import { inBytes, inTime, texts } from "./texts.js";
import { View } from "./view.js";

/** @typedef {import("./queue_service.js").Letter} Letter */

export class LetterView {
  #view = new View();
  #stage = new Stage(byId("letter-canvas"), byId("letter-tip"), this.#view);
  #shown = 0;

  constructor() {
    byId("letter-close").addEventListener("click", () => this.close());
  }

  close() {
    this.#shown += 1;
    byId("letter").hidden = true;
  }

  /** @param {string} queue @param {Letter} letter */
  async show(queue, letter) {
    const turn = (this.#shown += 1);
    const current = () => turn === this.#shown;
    byId("letter").hidden = false;
    byId("letter-title").textContent = letter.message_id;
    byId("letter-facts").replaceChildren(...facts(letter));
    this.#stage.setPicture(null);
    byId("letter-canvas").hidden = true;
    say(byId("letter-trouble"), "");
    byId("letter-title").focus();
    await Promise.all([this.#tell(queue, letter, current), this.#draw(queue, letter, current)]);
  }

  /** @param {string} queue @param {Letter} letter @param {() => boolean} current */
  async #tell(queue, letter, current) {
    try {
      const whole = await wholeLetter(queue, letter.sequence_number);
      if (current()) byId("letter-facts").replaceChildren(...facts(whole));
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
    }
  }

  /** @param {string} queue @param {Letter} letter @param {() => boolean} current */
  async #draw(queue, letter, current) {
    try {
      const blob = await letterPicture(queue, letter.sequence_number);
      const picture = await readPicture(new File([blob], letter.message_id));
      if (!current()) return;
      byId("letter-canvas").hidden = false;
      this.#view.fit();
      this.#stage.setPicture(picture);
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      if (current()) say(byId("letter-trouble"), error.message);
    }
  }
}

/** @param {(string | null)[]} parts */
export function inWordsOf(parts) {
  return parts.filter(Boolean).join(" · ");
}

/** @param {Partial<import("./queue_service.js").WholeLetter>} letter */
function facts(letter) {
  const rows = /** @type {[string, string | null | undefined][]} */ ([
    [texts.facts.reason, letter.reason],
    [texts.facts.description, letter.description],
    [texts.facts.robot, letter.robot_id],
    [texts.facts.sent, inTime(letter.sent_at ?? null)],
    [texts.facts.deliveries, String(letter.delivery_count)],
    [texts.facts.number, letter.sequence_number],
    [texts.facts.contentType, letter.content_type],
    [texts.facts.size, inBytes(letter.body_bytes ?? 0)],
    [texts.facts.correlation, letter.correlation_id],
    [texts.facts.replyTo, letter.reply_to],
    [texts.facts.session, letter.session_id],
    ...Object.entries(letter.properties ?? {}),
  ]);
  return rows.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]);
}
