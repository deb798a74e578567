// @ts-check
// A canvas with a picture and what was found on it, which zooms, pans and says what is under the pointer.
import { inWords } from "./answer.js";
import { classAt, numberAt } from "./class_map.js";
import { colour } from "./colours.js";
import { drawKeypoints, drawPolygon, highest, holds } from "./places.js";
import { texts } from "./texts.js";
import { View } from "./view.js";

/** @typedef {import("./answer.js").Mark} Mark */
/** @typedef {import("./class_map.js").ClassMap} ClassMap */
/** @typedef {import("./picture.js").Picture} Picture */

const STEP = 1.25;
const ARROWS = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-0.1, 0],
  ArrowRight: [0.1, 0],
  ArrowUp: [0, -0.1],
  ArrowDown: [0, 0.1],
});
const LABEL_HEIGHT = 18;
const MOST_NAMED = 20;

export class Stage {
  /** @type {Picture | null} */ #picture = null;
  /** @type {Mark[]} */ #marks = [];
  /** @type {ClassMap | null} */ #map = null;
  /** @type {Mark | null} */ #pointed = null;
  /** @type {Map<number, PointerEvent>} */ #pointers = new Map();
  #due = false;

  /** @param {HTMLCanvasElement} canvas @param {HTMLElement} tip @param {View} view */
  constructor(canvas, tip, view) {
    this.canvas = canvas;
    this.tip = tip;
    this.view = view;
    view.addEventListener("change", () => this.#redraw());
    new ResizeObserver(() => this.#redraw()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of /** @type {const} */ (["pointerup", "pointercancel", "pointerleave"])) {
      canvas.addEventListener(end, (event) => this.#up(event));
    }
    this.#describe();
  }

  /** @param {Picture | null} picture */
  setPicture(picture) {
    this.#picture = picture;
    this.canvas.style.aspectRatio = picture?.bitmap ? `${picture.width} / ${picture.height}` : "";
    this.setFound([], null);
  }

  /** @param {Mark[]} marks @param {ClassMap | null} map */
  setFound(marks, map) {
    this.#marks = marks;
    this.#map = map;
    this.point(null);
    this.#describe();
  }

  /** Bring one of the marks out. @param {Mark | null} mark */
  point(mark) {
    this.#pointed = mark;
    this.tip.hidden = true;
    this.#redraw();
  }

  #describe() {
    const named = this.#marks.slice(0, MOST_NAMED).map(inWords);
    if (this.#marks.length > MOST_NAMED) named.push(texts.more(this.#marks.length - MOST_NAMED));
    const words = this.#picture ? texts.drawn(named.join(", ") || texts.nothing) : texts.nothingDrawn;
    this.canvas.setAttribute("aria-label", words);
    const drawn = this.#marks.map(({ label, score, box }) => ({ label, score, box }));
    this.canvas.dataset.drawn = JSON.stringify(drawn);
  }

  #redraw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  /** CSS pixels a pixel of the picture, and where its upper left corner lies. */
  #place() {
    const { clientWidth, clientHeight } = this.canvas;
    const { width, height } = /** @type {Picture} */ (this.#picture);
    const scale = Math.min(clientWidth / width, clientHeight / height) * this.view.zoom;
    const left = clientWidth / 2 - this.view.x * width * scale;
    const top = clientHeight / 2 - this.view.y * height * scale;
    return { scale, left, top };
  }

  #draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    canvas.style.touchAction = this.view.zoom > 1 ? "none" : "pan-y";
    if (!this.#picture?.bitmap) return;
    const { scale, left, top } = this.#place();
    canvas.dataset.place = JSON.stringify({ scale, left, top });
    context.drawImage(this.#picture.bitmap, left, top, this.#picture.width * scale, this.#picture.height * scale);
    if (this.#map) this.#drawMap(context, this.#map);
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const marks = this.#map ? [] : this.#marks.toReversed(); // the best ones last, over the others
    for (const mark of marks) this.#drawBox(context, mark, 2);
    for (const mark of marks) this.#drawPoints(context, mark, 2);
    for (const mark of marks) this.#drawLabel(context, mark);
    if (!this.#pointed) return;
    this.#drawBox(context, this.#pointed, 4);
    this.#drawPoints(context, this.#pointed, 3);
    this.#drawLabel(context, this.#pointed);
  }

  /** @param {CanvasRenderingContext2D} context @param {ClassMap} map */
  #drawMap(context, map) {
    const { scale, left, top } = this.#place();
    const [x1, y1, x2, y2] = map.box;
    context.imageSmoothingEnabled = false;
    context.drawImage(map.canvas, left + x1 * scale, top + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale);
    context.imageSmoothingEnabled = true;
  }

  /** Of a mark, in CSS pixels of the canvas. @param {Mark} mark */
  #rectangle({ box }) {
    if (!box) return null;
    const { scale, left, top } = this.#place();
    const [width, height] = [(box[2] - box[0]) * scale, (box[3] - box[1]) * scale];
    return { x: left + box[0] * scale, y: top + box[1] * scale, width, height };
  }

  /** @param {CanvasRenderingContext2D} context @param {Mark} mark @param {number} lineWidth */
  #drawBox(context, mark, lineWidth) {
    const at = this.#rectangle(mark);
    if (!at) return;
    context.strokeStyle = colour(mark.classId);
    context.lineWidth = lineWidth;
    if (mark.corners) drawPolygon(context, mark.corners, this.#onto());
    else context.strokeRect(at.x, at.y, at.width, at.height);
  }

  /** @param {CanvasRenderingContext2D} context @param {Mark} mark @param {number} lineWidth */
  #drawPoints(context, mark, lineWidth) {
    if (!mark.keypoints) return;
    context.strokeStyle = colour(mark.classId);
    drawKeypoints(context, mark.keypoints, this.#onto(), lineWidth);
  }

  /** @returns {import("./places.js").Onto} */
  #onto() {
    const { scale, left, top } = this.#place();
    return ([x, y]) => [left + x * scale, top + y * scale];
  }

  /** Where the box is wide enough for it; the one that is pointed at has its label always.
   * @param {CanvasRenderingContext2D} context @param {Mark} mark */
  #drawLabel(context, mark) {
    const at = this.#rectangle(mark);
    if (!at) return;
    const [x, y] = mark.corners ? this.#onto()(highest(mark.corners)) : [at.x, at.y];
    const words = mark.score === null ? mark.label : `${mark.label} ${mark.score.toFixed(2)}`;
    const needed = context.measureText(words).width + 8;
    if (needed > at.width && mark !== this.#pointed) return;
    const above = y >= LABEL_HEIGHT ? y - LABEL_HEIGHT : y;
    context.fillStyle = colour(mark.classId);
    context.fillRect(x - 1, above, needed, LABEL_HEIGHT);
    context.fillStyle = "#fff";
    context.fillText(words, x + 3, above + LABEL_HEIGHT / 2);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (!this.#picture?.bitmap || (event.deltaY > 0 && this.view.zoom === 1)) return; // the page scrolls then
    event.preventDefault();
    const { x, y } = this.#share(event);
    this.view.zoomBy(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 250), x, y);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.view.zoomBy(STEP);
    else if (event.key === "-") this.view.zoomBy(1 / STEP);
    else if (event.key === "0") this.view.fit();
    else if (event.key in ARROWS && this.view.zoom > 1) {
      const [dx, dy] = ARROWS[event.key];
      this.view.move(dx / this.view.zoom, dy / this.view.zoom);
    } else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    this.#pointers.delete(event.pointerId);
    if (event.type === "pointerleave") this.point(null);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (!this.#picture?.bitmap) return;
    const before = this.#pointers.get(event.pointerId);
    if (!before) {
      this.#hover(event);
      return;
    }
    const other = [...this.#pointers.values()].find((one) => one.pointerId !== event.pointerId);
    if (other) this.#pinch(before, event, other);
    else this.#drag(before, event);
    this.#pointers.set(event.pointerId, event);
  }

  /** @param {PointerEvent} before @param {PointerEvent} now */
  #drag(before, now) {
    const [one, other] = [this.#share(before), this.#share(now)];
    this.view.move(one.x - other.x, one.y - other.y);
  }

  /** @param {PointerEvent} before @param {PointerEvent} now @param {PointerEvent} other */
  #pinch(before, now, other) {
    const apart = (/** @type {PointerEvent} */ one) =>
      Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
    const middle = this.#share({ offsetX: (now.offsetX + other.offsetX) / 2, offsetY: (now.offsetY + other.offsetY) / 2 });
    this.view.zoomBy(apart(now) / apart(before), middle.x, middle.y);
  }

  /** @param {{offsetX: number, offsetY: number}} event  Where in the picture, as shares of it. */
  #share(event) {
    const { scale, left, top } = this.#place();
    const { width, height } = /** @type {Picture} */ (this.#picture);
    return { x: (event.offsetX - left) / scale / width, y: (event.offsetY - top) / scale / height };
  }

  /** @param {PointerEvent} event */
  #hover(event) {
    const found = this.#under(event);
    if (found !== this.#pointed) this.point(found);
    this.tip.hidden = !found;
    if (!found) return;
    this.tip.textContent = inWords(found);
    const room = this.canvas.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(room, event.offsetX + 12))}px`;
    this.tip.style.top = `${event.offsetY + 12}px`;
  }

  /** The smallest box, or the class of the map, under the pointer. @param {PointerEvent} event */
  #under(event) {
    const { scale, left, top } = this.#place();
    const [x, y] = [(event.offsetX - left) / scale, (event.offsetY - top) / scale];
    const number = this.#map && numberAt(this.#map, x, y);
    if (number !== null) return { ...this.#marks[0], box: null, score: number };
    if (this.#map) {
      const classId = classAt(this.#map, x, y);
      return this.#marks.find((mark) => mark.classId === classId) ?? null;
    }
    const around = this.#marks.filter((mark) => isIn(mark, x, y));
    return around.reduce(smaller, /** @type {Mark | null} */ (null));
  }
}

/** Whether a place of the picture lies in a box, as it is drawn. @param {Mark} mark @param {number} x @param {number} y */
function isIn({ box, corners }, x, y) {
  if (corners) return holds(corners, x, y);
  return box !== null && x >= box[0] && y >= box[1] && x <= box[2] && y <= box[3];
}

/** @param {Mark | null} one @param {Mark} other */
function smaller(one, other) {
  return one && area(one) <= area(other) ? one : other;
}

/** @param {Mark} mark */
function area({ box }) {
  return box ? (box[2] - box[0]) * (box[3] - box[1]) : 0;
}
