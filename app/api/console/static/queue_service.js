// @ts-check
// What the page asks about the queue: letters by pages, one letter, orders that are told step by step.
import { ask, Trouble } from "./service.js";
import { texts } from "./texts.js";

/** Letters that are asked for together; the API gives no more. */
const PAGE = "200";

/** @typedef {{sequence_number: string, message_id: string, reason: string, description: string, delivery_count: number,
 *   sent_at: string | null, robot_id: string | null, body_bytes: number}} Letter */
/** @typedef {Letter & {content_type: string | null, correlation_id: string | null, reply_to: string | null,
 *   session_id: string | null, properties: Record<string, string>}} WholeLetter */
/** @typedef {{queue: string, state: string, reason: string, halted: string, credit: number, held: number,
 *   oldest_age_seconds: number, depth: Record<string, number>, topic: string | null}} Queue */
/** @typedef {Record<string, string>} Filter  `reason`, `robot_id`, `sent_after`, `sent_before`. */
/** @typedef {{total?: number, sequence_number?: string, trouble?: string, done?: number, stay?: number}} Step */

/** Who asks here, and what they may do.
 * @returns {Promise<{caller: string, role: string, queues: boolean}>} */
export async function session() {
  return (await ask("console/session")).json();
}

/** @returns {Promise<Queue[]>} */
export async function queues() {
  return (await (await ask("v1/queues")).json()).queues;
}

/** @param {string} queue @param {Filter} filter @param {string} start @param {AbortSignal} signal
 * @returns {Promise<{letters: Letter[], next: string | null}>} */
export async function letters(queue, filter, start, signal) {
  return (await ask(`v1/dead-letters?${new URLSearchParams({ queue, start, limit: PAGE, ...filter })}`, { signal })).json();
}

/** @param {string} queue @param {string} number @returns {Promise<WholeLetter>} */
export async function wholeLetter(queue, number) {
  return (await ask(`v1/dead-letters/${number}?${new URLSearchParams({ queue })}`)).json();
}

/** @param {string} queue @param {string} number */
export async function letterPicture(queue, number) {
  return (await ask(`v1/dead-letters/${number}/picture?${new URLSearchParams({ queue })}`)).blob();
}

/** @returns {Promise<Record<string, unknown>[]>} */
export async function audit() {
  return (await (await ask("v1/audit")).json()).entries;
}

/** Have letters worked off; each step is told as it is made. Raises `Trouble`, also where the end is never told.
 * @param {"resubmit" | "drop"} what @param {object} order @param {(step: Step) => void} onStep */
export async function workOff(what, order, onStep) {
  const headers = { "Content-Type": "application/json" };
  const response = await ask(`v1/dead-letters/${what}`, { method: "POST", body: JSON.stringify(order), headers });
  let ended = false;
  try {
    for await (const line of linesOf(response)) {
      const step = JSON.parse(line);
      if (step.done !== undefined) ended = true;
      onStep(step);
    }
  } catch {
    throw new Trouble(texts.cutOff);
  }
  if (!ended) throw new Trouble(texts.cutOff);
}

/** @param {Response} response @returns {AsyncGenerator<string>} */
export async function* linesOf(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter(Boolean);
  }
}
