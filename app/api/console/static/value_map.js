// @ts-check
// A map of numbers, such as a depth, as colours over the picture: what is larger is brighter.
import { decodedPng } from "./class_map.js";

const NOBODY = 255;
const OPACITY = 215;
const LEVELS = 255;
/** Inferno at even steps, from the smallest number to the largest. */
const STOPS = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

/** Decode one of an answer's maps. A browser gives the upper eight of its sixteen bits, enough to look at.
 * @param {any} found @returns {Promise<import("./class_map.js").ClassMap>} */
export async function readValueMap({ png, box, minimum, maximum }) {
  const { canvas, context, pixels } = await decodedPng(png);
  const shades = new Uint8Array(canvas.width * canvas.height);
  for (let place = 0; place < shades.length; place += 1) {
    shades[place] = pixels.data[place * 4];
    pixels.data.set([...shadeOf(shades[place]), OPACITY], place * 4);
  }
  context.putImageData(pixels, 0, 0);
  const ids = new Uint8Array(shades.length).fill(NOBODY);
  const numbers = (/** @type {number} */ place) => minimum + (shades[place] / LEVELS) * (maximum - minimum);
  return { canvas, ids, width: canvas.width, height: canvas.height, box, numbers };
}

/** @param {number} shade  0 to 255. @returns {number[]} */
function shadeOf(shade) {
  const at = (shade / LEVELS) * (STOPS.length - 1);
  const below = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[below].map((start, channel) => start + (STOPS[below + 1][channel] - start) * (at - below));
}
