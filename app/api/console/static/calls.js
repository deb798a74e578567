// @ts-check
// The call that the page made, for a terminal and for a program.
import { key, predictUrl } from "./service.js";

/** @typedef {import("./service.js").Target} Target */
/** @typedef {import("./picture.js").Picture} Picture */

/** @param {Target} target @param {Picture} picture @param {number} threshold */
export function curlCall(target, picture, threshold) {
  const lines = [`curl ${quoted(predictUrl(target, threshold).href)}`, `-H 'Content-Type: ${picture.type}'`];
  if (key.get() !== null) lines.push('-H "X-Api-Key: $ROO_API_KEY"');
  lines.push(`--data-binary ${quoted(`@${picture.name}`)}`);
  return lines.join(" \\\n  ");
}

/** @param {Target} target @param {Picture} picture @param {number} threshold */
export function pythonCall(target, picture, threshold) {
  const withKey = key.get() !== null;
  const headers = [`"Content-Type": ${JSON.stringify(picture.type)}`];
  if (withKey) headers.push('"X-Api-Key": os.environ["ROO_API_KEY"]');
  return [
    ...(withKey ? ["import os"] : []),
    "from pathlib import Path",
    "",
    "import httpx",
    "",
    "answer = httpx.post(",
    `    ${JSON.stringify(predictUrl(target, threshold).href)},`,
    `    content=Path(${JSON.stringify(picture.name)}).read_bytes(),`,
    `    headers={${headers.join(", ")}},`,
    "    timeout=60,",
    ")",
    "print(answer.raise_for_status().json())",
  ].join("\n");
}

/** For a POSIX shell. @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
