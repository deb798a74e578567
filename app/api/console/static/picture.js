// @ts-check
// A picture of the user's: what is sent, and what is drawn of it, both within bounds.
import { inBytes, texts } from "./texts.js";
import { Trouble } from "./service.js";

export const MOST_BYTES = 64 * 1024 * 1024;
export const MOST_PIXELS = 50e6;
/** Longest side that is kept for drawing; the boxes are in pixels of the picture all the same. */
const DRAWN_SIDE = 4096;
/** A JPEG says its size within so many bytes, or the browser finds it out. */
const HEAD_BYTES = 1024 * 1024;

/**
 * @typedef {object} Picture
 * @property {Blob} blob  What is sent.
 * @property {string} name
 * @property {string} type  Its media type, by its first bytes.
 * @property {number} width  Of the upright picture, 0 where it is not known.
 * @property {number} height
 * @property {ImageBitmap | null} bitmap  What is drawn, null where it is too large or broken.
 * @property {string} trouble  Why it is not drawn.
 */

/** Read a file; raises `Trouble` where it is not worth sending.
 * @param {File} file @returns {Promise<Picture>} */
export async function readPicture(file) {
  if (file.size === 0) throw new Trouble(texts.emptyFile);
  if (file.size > MOST_BYTES) throw new Trouble(texts.fileTooLarge(inBytes(file.size), inBytes(MOST_BYTES)));
  const head = new DataView(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const { type, pixels } = readHead(head);
  const picture = { blob: file, name: file.name, type, width: 0, height: 0, bitmap: null, trouble: "" };
  if (pixels > MOST_PIXELS) {
    const trouble = texts.tooManyPixels(Math.round(pixels / 1e6), MOST_PIXELS / 1e6);
    return { ...picture, trouble };
  }
  try {
    const whole = await createImageBitmap(file);
    return { ...picture, width: whole.width, height: whole.height, bitmap: await reduced(whole) };
  } catch {
    return { ...picture, trouble: texts.notDrawable };
  }
}

/** @param {ImageBitmap} whole */
async function reduced(whole) {
  const factor = DRAWN_SIDE / Math.max(whole.width, whole.height);
  if (factor >= 1) return whole;
  const resizeWidth = Math.max(1, Math.round(whole.width * factor));
  const resizeHeight = Math.max(1, Math.round(whole.height * factor));
  const small = await createImageBitmap(whole, { resizeWidth, resizeHeight, resizeQuality: "medium" });
  whole.close();
  return small;
}

/** What the first bytes say: media type and number of pixels, 0 where they do not say.
 * @param {DataView} head */
function readHead(head) {
  if (starts(head, 0, "\x89PNG") && head.byteLength >= 24) {
    return { type: "image/png", pixels: head.getUint32(16) * head.getUint32(20) };
  }
  if (starts(head, 0, "RIFF") && starts(head, 8, "WEBP")) return { type: "image/webp", pixels: webpPixels(head) };
  if (starts(head, 0, "\xff\xd8")) return { type: "image/jpeg", pixels: jpegPixels(head) };
  return { type: "application/octet-stream", pixels: 0 };
}

/** @param {DataView} head @param {number} at @param {string} bytes */
function starts(head, at, bytes) {
  if (head.byteLength < at + bytes.length) return false;
  return [...bytes].every((byte, index) => head.getUint8(at + index) === byte.charCodeAt(0));
}

/** @param {DataView} head */
function jpegPixels(head) {
  let at = 2;
  while (at + 9 <= head.byteLength && head.getUint8(at) === 0xff) {
    const marker = head.getUint8(at + 1);
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) return head.getUint16(at + 5) * head.getUint16(at + 7);
    at += marker === 0xff ? 1 : 2 + head.getUint16(at + 2);
  }
  return 0;
}

/** @param {DataView} head */
function webpPixels(head) {
  if (head.byteLength < 30) return 0;
  if (starts(head, 12, "VP8X")) return (three(head, 24) + 1) * (three(head, 27) + 1);
  if (starts(head, 12, "VP8L")) {
    const bits = head.getUint32(21, true);
    return ((bits & 0x3fff) + 1) * (((bits >> 14) & 0x3fff) + 1);
  }
  return (head.getUint16(26, true) & 0x3fff) * (head.getUint16(28, true) & 0x3fff);
}

/** @param {DataView} head @param {number} at */
function three(head, at) {
  return head.getUint16(at, true) + head.getUint8(at + 2) * 0x10000;
}
