// @ts-check
// Every sentence of the console, in one place. Those with something to fill in are functions.

export const texts = {
  views: "Views",
  tryIt: "Try it",
  models: "Models",
  choose: "Choose a picture",
  photograph: "Take a photograph",
  dropHint: "or drop one here, or paste one",
  examples: "Examples",
  threshold: "Score from",
  compare: "Compare two",
  again: "Ask again",
  model: "Model",
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  fit: "Fit",
  json: "Answer in JSON",
  curl: "The same with curl",
  python: "The same in Python",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "Select and copy it yourself: this browser allows copying to https pages only.",
  cancel: "Cancel",

  keyTitle: "API key",
  keyWhere: "The service answers those who have a key. It is kept in this tab alone, and is gone when the tab is closed.",
  keyLabel: "Key",
  keyUse: "Use this key",
  keyGive: "Give a key",
  keyForget: "Forget the key",
  keyShape: "A key is letters, digits and signs, without spaces.",

  ready: "ready",
  asking: "Asking …",
  /** @param {string} why */
  notReady: (why) => `not ready: ${why}`,
  away: "The service does not answer; trying again by itself.",
  noModels: "No model is served.",

  pressed: "Nothing asked yet: choose a picture, or take an example.",
  /** @param {string} name @param {string} size */
  picture: (name, size) => `${name} · ${size}`,
  /** @param {number} width @param {number} height @param {string} bytes */
  pictureSize: (width, height, bytes) => `${width} × ${height} · ${bytes}`,
  emptyFile: "This file is empty.",
  notAFile: "There was no picture in that.",
  /** @param {string} bytes @param {string} most */
  fileTooLarge: (bytes, most) => `This file has ${bytes}; the page sends at most ${most}. Send a smaller picture.`,
  /** @param {number} megapixels @param {number} most */
  tooManyPixels: (megapixels, most) =>
    `The picture has ${megapixels} megapixels; this page draws at most ${most}. The answer is below all the same.`,
  notDrawable: "This browser cannot show the picture.",

  /** @param {string} name @param {string} version */
  versionOf: (name, version) => `${name}, version ${version}`,
  /** @param {string} model @param {string} version @param {number} ms */
  answeredBy: (model, version, ms) => `${model}, version ${version}, in ${ms} ms`,
  /** @param {number} shown @param {number} found @param {string} who */
  boxes: (shown, found, who) => `${shown} of ${found} found · ${who}`,
  /** @param {number} count @param {string} who */
  classes: (count, who) => `${count} classes · ${who}`,
  /** @param {number} count @param {string} who */
  segments: (count, who) => `${count} classes on the picture · ${who}`,
  /** @param {number} count @param {string} who */
  lines: (count, who) => `${count} lines of text · ${who}`,
  /** @param {number} dimensions @param {boolean} normalized @param {string} who */
  vector: (dimensions, normalized, who) => `vector of ${dimensions} numbers${normalized ? ", length 1" : ""} · ${who}`,
  /** @param {number} count @param {string} who */
  maps: (count, who) => `${count === 1 ? "a map" : `${count} maps, the first is shown`} · ${who}`,
  /** @param {string} label @param {string} from @param {string} to @param {string} unit */
  range: (label, from, to, unit) => `${label}: ${from} to ${to} ${unit}`,
  /** @param {number} number */
  line: (number) => `line ${number}`,
  /** @param {string} what */
  drawn: (what) => `Picture with what was found: ${what}. Plus, minus and 0 zoom, arrows move.`,
  nothing: "nothing",
  nothingDrawn: "No picture yet",
  /** @param {number} count */
  more: (count) => `and ${count} more`,
  /** @param {number} count */
  cut: (count) => `\n… ${count} more characters; curl shows them all.`,

  /** @param {string} name @param {string} task @param {boolean} answers */
  modelTitle: (name, task, answers) => `${name} · ${task}${answers ? " · answers where none is named" : ""}`,
  columns: ["Version", "Share", "Engine", "Precision", "Device", "Decoding", "Largest batch"],
  /** @param {number} percent */
  percent: (percent) => `${percent} %`,
  shadow: "shadow",
  notServed: "Not served, or not as in the repository",
  /** @param {string} name @param {string} reason @param {boolean} serving */
  failed: (name, reason, serving) => `${name}${serving ? " (answers from an older state)" : ""}: ${reason}`,
  /** @param {string} names */
  notLoaded: (names) => `Loaded when they are asked for: ${names}`,

  live: "Live",
  liveTraffic: "Traffic",
  liveCore: "Core",
  liveLatency: "Latency",
  liveStage: "Stage",
  liveSettled: "Settled a second",
  liveEngine: "Engine",
  liveDevice: "Device",
  livePictures: "Pictures a second",
  liveWhy: "Precision, and why it computes so, is in Models.",
  liveReadiness: "Readiness",
  liveLost: "The connection to the service was lost; connecting again by itself. What is shown is of before.",
  liveRequests: "HTTP requests a second",
  liveFailed: "Pictures failed (count)",
  liveLanes: "Lanes",
  liveBatch: "Batch size, mean",
  liveFill: "Batch fill, mean",
  liveWaiting: "Waiting / in flight",
  liveOldest: "Oldest waiting",
  liveMemory: "Memory",
  liveConnected: "connected",
  liveDisconnected: "not connected",
  /** @param {string} rate */
  liveRate: (rate) => `${rate} pictures a second`,
  /** @param {string} source */
  liveSource: (source) => `Pictures a second, ${source}`,
  /** @param {string} gpu */
  liveGpu: (gpu) => `GPU ${gpu}`,
  /** @param {string} now @param {string} most */
  liveChart: (now, most) => `Pictures a second over the last minutes: ${now} now, ${most} at most.`,
  /** @type {Record<string, string>} */
  stages: {
    total: "whole",
    queue: "waiting for a lane",
    decode: "decoding",
    prepare: "preparing",
    compute: "computing",
    finish: "finishing",
  },

  queue: "Queue",
  queueName: "Queue",
  queueState: "State",
  queueWaiting: "Waiting",
  queueDead: "Dead letters",
  queueHeld: "Held here",
  queueOldest: "Oldest held",
  queueCredit: "Credit",
  noQueue: "This service receives no queue, or does not show it (ROO_QUEUE, ROO_QUEUE_CONTROL).",
  notTold: "not told",
  /** @param {number} value */
  seconds: (value) => (value < 120 ? `${value.toFixed(1)} s` : `${Math.round(value / 60)} min`),

  deadLetters: "Dead letters",
  filterReason: "Reason",
  filterRobot: "Robot",
  filterAfter: "Sent from",
  filterBefore: "Sent before",
  filterShow: "Show",
  resubmitChosen: "Send chosen again …",
  resubmitAll: "Send all of these again …",
  dropChosen: "Drop chosen …",
  dropAll: "Drop all of these …",
  viewerHint: "Sending again and dropping are for operators.",
  noReason: "no reason",
  close: "Close",
  /** @param {string} id */
  chooseLetter: (id) => `Choose ${id}`,
  /** @param {number} count @param {boolean} whole @param {number} chosen */
  lettersCount: (count, whole, chosen) =>
    `${count}${whole ? "" : " and more"} dead letters${chosen ? `, ${chosen} chosen` : ""}`,
  facts: {
    reason: "Reason",
    description: "Description",
    robot: "Robot",
    sent: "Sent",
    deliveries: "Deliveries",
    number: "Sequence number",
    contentType: "Content type",
    size: "Size",
    correlation: "Correlation id",
    replyTo: "Reply to",
    session: "Session",
  },

  orderTitle: {
    resubmit: (/** @type {number} */ count) => `Send ${count} dead ${count === 1 ? "letter" : "letters"} again?`,
    drop: (/** @type {number} */ count) => `Drop ${count} dead ${count === 1 ? "letter" : "letters"} for good?`,
  },
  orderDo: { resubmit: "Send again", drop: "Drop for good" },
  resubmitWhat: "Copies go to the queue, and the letters are removed once their copies are there. What is left empty stays as it was sent.",
  /** @param {string} topic */
  toTopic: (topic) => `The copies go to the topic ${topic}, and so to every subscription of it whose rules match.`,
  dropWhat: "They are removed, and nothing brings them back. The reason is kept in the audit log.",
  asSent: "as it was sent",
  orderVersion: "Version",
  orderWindow: "Duplicate window in seconds",
  orderWindowHint: "For how long the queue remembers ids: 0 where it detects no duplicates. Asked of the broker where left empty.",
  orderReason: "Reason",
  orderBar: "Progress",
  /** @param {number} gone @param {number} stay @param {number} total */
  orderTold: (gone, stay, total) => `${gone} of ${total} done${stay ? `, ${stay} stay` : ""}`,
  cutOff: "The answer was cut off before its end. Nothing is lost: look at what is left, and order that again.",
  auditTitle: "What operators did",
  auditNone: "Nothing yet.",

  /** Why there is no answer, by HTTP status; what the service says of it follows. */
  troubles: /** @type {Record<number, string>} */ ({
    401: "The service asks for a key, and does not know this one.",
    403: "This key may not do that.",
    404: "That is not there any more.",
    413: "The picture is larger than the service takes.",
    415: "The service reads JPEG, PNG and WebP.",
    422: "The service cannot use this picture.",
    429: "Too many requests.",
    502: "The queue's broker cannot be asked.",
    500: "Something went wrong inside the service.",
    503: "The service cannot take this now.",
    504: "The answer did not come in time.",
  }),
  keyMissing: "The service asks for a key.",
  otherTrouble: "The service refused this.",
  /** @param {number} seconds */
  tryAgainIn: (seconds) => `Try again in ${seconds} s.`,
  /** @param {string} id */
  requestId: (id) => `(request ${id})`,
  strangeAnswer: "The service's answer could not be read.",
};

/** Fill in the sentences that the page names: `data-text` as content, `data-label` as accessible name.
 * @param {Document | DocumentFragment} root */
export function fillIn(root) {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-text]"))) {
    element.textContent = sentence(element.dataset.text);
  }
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-label]"))) {
    element.setAttribute("aria-label", sentence(element.dataset.label));
  }
}

/** @param {string | undefined} name */
function sentence(name) {
  return String(texts[/** @type {keyof typeof texts} */ (name)]);
}

/** @param {number} bytes */
export function inBytes(bytes) {
  return bytes < 1024 * 1024 ? `${Math.ceil(bytes / 1024)} kB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

/** @param {string | null} moment  As ISO 8601 says it. */
export function inTime(moment) {
  return moment === null ? "" : new Date(moment).toLocaleString();
}

const NOTHING = "–";

/** @param {number | null} value */
export function inAmount(value) {
  return value === null ? NOTHING : value.toFixed(value < 100 ? 1 : 0).replace(/\.0$/, "");
}

/** @param {number | null} value */
export function inSeconds(value) {
  if (value === null) return NOTHING;
  return value < 1 ? `${(value * 1000).toFixed(1)} ms` : texts.seconds(value);
}

/** @param {number | null} value */
export function inShare(value) {
  return value === null ? NOTHING : `${Math.round(value * 100)} %`;
}

/** @param {number | null} value @param {number | null} limit */
export function inMemory(value, limit) {
  const parts = [value, limit].filter((one) => one !== null).map((one) => inBytes(one));
  return parts.join(" / ") || NOTHING;
}
