// @ts-check
// What the page asks the service, and what it says where there is no answer.
import { texts } from "./texts.js";

/** Where the API lies: the page is at `console/` beside it, whatever a proxy puts before both. */
export const API = new URL("../", document.baseURI);

/** Detections with less are not asked for: the slider shows and hides what came without asking again. */
export const LOWEST_SCORE = 0.05;

const KEY = "roo-vision.key";

/** @typedef {{name: string, version: string | null, task: string}} Target  Whom a picture is sent to. */
/** @typedef {{model: string, name: string}} Example */

/** Why there is no answer. `status` is HTTP's, 0 where the service does not answer at all. */
export class Trouble extends Error {
  /** @param {string} sentence @param {number} [status] */
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  /** @param {string} value */
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What is served, and what is not: the API's `ModelList`.
 * @returns {Promise<any>} */
export async function served() {
  return (await ask("v1/models")).json();
}

/** The targets that may be chosen: each model as it answers by itself and, where there are several, its versions.
 * @returns {Promise<Target[]>} */
export async function targets() {
  const { models } = await served();
  models.sort((/** @type {any} */ one, /** @type {any} */ other) => Number(other.default) - Number(one.default));
  return models.flatMap((/** @type {any} */ model) => {
    const versions = model.versions.length > 1 ? model.versions.map((/** @type {any} */ one) => one.version) : [];
    return [null, ...versions].map((version) => ({ name: model.name, version, task: model.task }));
  });
}

/** @returns {Promise<Example[]>} */
export async function examples() {
  return (await ask("console/examples")).json();
}

/** @param {Example} example */
export async function exampleFile({ model, name }) {
  const path = `console/examples/${encodeURIComponent(model)}/${encodeURIComponent(name)}`;
  return new File([await (await ask(path)).blob()], name);
}

/** @param {Target} target @param {number} threshold  Said to detectors only, others have none. */
export function predictUrl({ name, version, task }, threshold) {
  const versioned = version === null ? "" : `/versions/${encodeURIComponent(version)}`;
  const url = new URL(`v1/models/${encodeURIComponent(name)}${versioned}/predict`, API);
  if (task === "detection") url.searchParams.set("score_threshold", String(threshold));
  return url;
}

/** Ask for a prediction; raises `Trouble`.
 * @param {Target} target @param {{blob: Blob, type: string}} picture @param {AbortSignal} signal */
export async function predict(target, picture, signal) {
  const headers = { "Content-Type": picture.type };
  const url = predictUrl(target, LOWEST_SCORE);
  const response = await ask(url, { method: "POST", body: picture.blob, headers, signal });
  try {
    return await response.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Trouble(texts.strangeAnswer);
  }
}

/** How the service is: ready, or the sentence that says why not.
 * @returns {Promise<{answers: boolean, ready: boolean, sentence: string}>} */
export async function readiness() {
  try {
    const response = await fetch(new URL("readyz", API), { cache: "no-store" });
    const { checks } = await response.json();
    const why = Object.entries(checks).filter(([, state]) => state !== "ok").map((pair) => pair.join(" "));
    return { answers: true, ready: response.ok, sentence: response.ok ? texts.ready : texts.notReady(why.join(", ")) };
  } catch {
    return { answers: false, ready: false, sentence: texts.away };
  }
}

/** Ask the service, with the key that was given; raises `Trouble`.
 * @param {string | URL} path @param {RequestInit} [options] */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const given = key.get();
  if (given !== null) headers.set("X-Api-Key", given);
  headers.set("Accept", "*/*");
  let response;
  try {
    response = await fetch(new URL(path, API), { ...options, headers, credentials: "omit", redirect: "error" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Trouble(texts.away);
  }
  if (!response.ok) throw new Trouble(await explain(response, given !== null), response.status);
  return response;
}

/** @param {Response} response @param {boolean} withKey */
async function explain(response, withKey) {
  const problem = await response.json().catch(() => ({}));
  const status = response.status;
  if (status === 401 && !withKey) return texts.keyMissing;
  const wait = Number(response.headers.get("Retry-After"));
  const parts = [texts.troubles[status] ?? texts.otherTrouble, problem.detail];
  if (wait > 0) parts.push(texts.tryAgainIn(wait));
  if (problem.request_id) parts.push(texts.requestId(problem.request_id));
  return parts.filter(Boolean).join(" ");
}
