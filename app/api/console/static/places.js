// @ts-check
// What a detection has beside its upright box: keypoints with the lines between them, and a turned box.

/** @typedef {[number, number]} Point  x, y in pixels of the upright picture. */
/** @typedef {{points: (Point | null)[], links: [number, number][]}} Keypoints  Null: a point that is guessed. */
/** @typedef {(point: Point) => Point} Onto  From pixels of the picture to those of the canvas. */

/** A point that scores less is a guess, and not drawn; the same as on the service's own pictures. */
const SEEN = 0.5;

/** @param {any} detection @param {[number, number][]} links @returns {Keypoints | null} */
export function keypointsOf(detection, links) {
  if (!detection.keypoints) return null;
  const points = detection.keypoints.map((/** @type {any} */ one) =>
    one.score === null || one.score >= SEEN ? [one.x, one.y] : null,
  );
  return { points, links };
}

/** @param {any} detection @returns {Point[] | null} */
export function cornersOf({ polygon }) {
  if (!polygon) return null;
  return [0, 2, 4, 6].map((place) => [polygon[place], polygon[place + 1]]);
}

/** Whether a place lies in a convex polygon, whose corners go clockwise.
 * @param {Point[]} corners @param {number} x @param {number} y */
export function holds(corners, x, y) {
  return corners.every(([x1, y1], index) => {
    const [x2, y2] = corners[(index + 1) % corners.length];
    return (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) >= 0;
  });
}

/** @param {Point[]} corners */
export function highest(corners) {
  return corners.reduce((best, corner) => (corner[1] < best[1] ? corner : best));
}

/** @param {CanvasRenderingContext2D} context @param {Point[]} corners @param {Onto} onto */
export function drawPolygon(context, corners, onto) {
  context.beginPath();
  for (const corner of corners) context.lineTo(...onto(corner));
  context.closePath();
  context.stroke();
}

/** Lines and points in the colour that the context strokes with, light around, so that they are seen on anything.
 * @param {CanvasRenderingContext2D} context @param {Keypoints} found @param {Onto} onto @param {number} lineWidth */
export function drawKeypoints(context, { points, links }, onto, lineWidth) {
  const placed = points.map((point) => point && onto(point));
  const ends = links.map(([one, other]) => [placed[one], placed[other]]).filter(([one, other]) => one && other);
  const colour = context.strokeStyle;
  for (const [style, width] of /** @type {const} */ ([["#fff", lineWidth + 2], [colour, lineWidth]])) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const [one, other] of ends) {
      context.moveTo(.../** @type {Point} */ (one));
      context.lineTo(.../** @type {Point} */ (other));
    }
    context.stroke();
  }
  for (const point of placed) if (point) drawDot(context, point, lineWidth + 2, colour);
}

/** @param {CanvasRenderingContext2D} context @param {Point} point @param {number} radius
 * @param {CanvasRenderingContext2D["fillStyle"]} colour */
function drawDot(context, [x, y], radius, colour) {
  for (const [style, size] of /** @type {const} */ ([["#fff", radius + 1.5], [colour, radius]])) {
    context.fillStyle = style;
    context.beginPath();
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.fill();
  }
}
