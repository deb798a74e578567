// @ts-check
// A prediction as it is shown: what the slider leaves of it, what is drawn, what is listed.
import { cornersOf, keypointsOf } from "./places.js";
import { texts } from "./texts.js";

/** @typedef {[number, number, number, number]} Box  x1, y1, x2, y2 in pixels of the upright picture. */
/** @typedef {{label: string, classId: number, score: number | null, box: Box | null, codes: string[],
 *   corners?: import("./places.js").Point[] | null, keypoints?: import("./places.js").Keypoints | null}} Mark */

const MOST_CHARACTERS = 100_000;

/** The prediction as the same request with this threshold would have given it.
 * @param {any} prediction @param {number} threshold */
export function filtered(prediction, threshold) {
  if (!prediction.detections) return prediction;
  const detections = prediction.detections.filter((/** @type {any} */ one) => one.score >= threshold);
  const counts = Object.fromEntries(Object.keys(prediction.inventory.counts).map((label) => [label, 0]));
  for (const { label } of detections) counts[label] += 1;
  const texts = detections.flatMap((/** @type {any} */ one) => one.codes.map((/** @type {any} */ code) => code.text));
  return { ...prediction, detections, inventory: { counts, texts } };
}

/** @param {any} prediction @returns {Mark[]} */
export function marksOf(prediction) {
  if (prediction.lines) return prediction.lines.map(lineOf);
  if (prediction.text) return [textOf(prediction.text)];
  if (prediction.embedding) return [];
  if (prediction.maps) return prediction.maps.map(mapOf);
  const found = prediction.detections ?? prediction.classes ?? prediction.segmentation?.segments ?? [];
  return found.map((/** @type {any} */ one) => ({
    label: one.label,
    classId: one.class_id,
    score: one.score ?? one.share,
    box: one.box ?? null,
    codes: (one.codes ?? []).map((/** @type {any} */ code) => code.text),
    corners: cornersOf(one),
    keypoints: keypointsOf(one, prediction.skeleton ?? []),
  }));
}

/** A map of numbers, with what they are. @param {any} map @returns {Mark} */
function mapOf({ label, class_id: classId, minimum, maximum, unit, box }) {
  const from = texts.range(label, minimum.toPrecision(3), maximum.toPrecision(3), unit);
  return { label: from, classId, score: null, box, codes: [], corners: null, keypoints: null };
}

/** A line of text, with the box around it. @param {any} line @param {number} index @returns {Mark} */
function lineOf({ polygon, score }, index) {
  const xs = polygon.filter((/** @type {number} */ _, /** @type {number} */ place) => place % 2 === 0);
  const ys = polygon.filter((/** @type {number} */ _, /** @type {number} */ place) => place % 2 === 1);
  const box = /** @type {Box} */ ([Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)]);
  return { label: texts.line(index + 1), classId: index, score, box, codes: [], corners: cornersOf({ polygon }), keypoints: null };
}

/** What one line says. @param {any} text @returns {Mark} */
function textOf({ text, score }) {
  return { label: text, classId: 0, score, box: null, codes: [], corners: null, keypoints: null };
}

/** @param {any} prediction @param {any} whole  Before the slider. */
export function summary(prediction, whole) {
  const who = texts.answeredBy(prediction.model, prediction.version, prediction.timings_ms.total);
  if (prediction.detections) return texts.boxes(prediction.detections.length, whole.detections.length, who);
  if (prediction.classes) return texts.classes(prediction.classes.length, who);
  if (prediction.lines) return texts.lines(prediction.lines.length, who);
  if (prediction.text) return who;
  if (prediction.embedding) return texts.vector(prediction.embedding.dimensions, prediction.embedding.normalized, who);
  if (prediction.maps) return texts.maps(prediction.maps.length, who);
  return texts.segments(prediction.segmentation.segments.length, who);
}

/** @param {any} prediction */
export function asText(prediction) {
  const text = JSON.stringify(prediction, null, 2);
  return text.length <= MOST_CHARACTERS
    ? text
    : text.slice(0, MOST_CHARACTERS) + texts.cut(text.length - MOST_CHARACTERS);
}

/** @param {Mark} mark */
export function inWords(mark) {
  return [mark.label, ...(mark.score === null ? [] : [mark.score.toFixed(2)]), ...mark.codes].join(" · ");
}
