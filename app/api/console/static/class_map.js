// @ts-check
// A segmentation's map: which class each place shows, as colours over the picture.
import { colour } from "./colours.js";

const UNKNOWN = 255;
const OPACITY = 140;

/** @typedef {{canvas: HTMLCanvasElement, ids: Uint8Array, width: number, height: number, box: import("./answer.js").Box,
 *   numbers?: (place: number) => number}} ClassMap  With `numbers`, a map of those, whose places have no classes. */

/** Decode the map of a segmentation; only classes that are listed are coloured, the background is not.
 * @param {any} segmentation @returns {Promise<ClassMap>} */
export async function readClassMap({ map, segments }) {
  const { canvas, context, pixels } = await decodedPng(map.png);
  const ids = new Uint8Array(canvas.width * canvas.height);
  const listed = new Map(segments.map((/** @type {any} */ one) => [one.class_id, rgb(colour(one.class_id))]));
  for (let place = 0; place < ids.length; place += 1) {
    ids[place] = pixels.data[place * 4];
    const shown = listed.get(ids[place]);
    pixels.data.set(shown ? [...shown, OPACITY] : [0, 0, 0, 0], place * 4);
  }
  context.putImageData(pixels, 0, 0);
  return { canvas, ids, width: canvas.width, height: canvas.height, box: map.box };
}

/** A picture's own pixels, on a canvas of its size. @param {string} base64 */
export async function decodedPng(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const plain = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const png = new Blob([bytes], { type: "image/png" });
  const bitmap = await createImageBitmap(png, /** @type {ImageBitmapOptions} */ (plain));
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { canvas, context, pixels: context.getImageData(0, 0, canvas.width, canvas.height) };
}

/** The class at a place of the picture, null where there is none.
 * @param {ClassMap} map @param {number} x @param {number} y */
export function classAt(map, x, y) {
  const place = placeOf(map, x, y);
  return place === null || map.ids[place] === UNKNOWN ? null : map.ids[place];
}

/** The number at a place of the picture, null where the map is not, or has classes.
 * @param {ClassMap} map @param {number} x @param {number} y */
export function numberAt(map, x, y) {
  const place = placeOf(map, x, y);
  return place === null || !map.numbers ? null : map.numbers(place);
}

/** @param {ClassMap} map @param {number} x @param {number} y */
function placeOf(map, x, y) {
  const [left, top, right, bottom] = map.box;
  const column = Math.floor(((x - left) / (right - left)) * map.width);
  const row = Math.floor(((y - top) / (bottom - top)) * map.height);
  if (column < 0 || row < 0 || column >= map.width || row >= map.height) return null;
  return row * map.width + column;
}

/** @param {string} hex */
function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
