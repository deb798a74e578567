// @ts-check
// Which part of the picture is looked at; two stages that are compared share one.

const MOST_ZOOM = 40;

/** `zoom` is 1 where the whole picture fits; `x` and `y` are the middle, as shares of the picture. Tells of changes by
 * the event `change`. */
export class View extends EventTarget {
  zoom = 1;
  x = 0.5;
  y = 0.5;

  fit() {
    this.set(1, 0.5, 0.5);
  }

  /** @param {number} zoom @param {number} x @param {number} y */
  set(zoom, x, y) {
    this.zoom = clamp(zoom, 1, MOST_ZOOM);
    const margin = 0.5 / this.zoom;
    this.x = clamp(x, margin, 1 - margin);
    this.y = clamp(y, margin, 1 - margin);
    this.dispatchEvent(new Event("change"));
  }

  /** Zoom and leave the place (`x`, `y`, as shares of the picture) where it is.
   * @param {number} factor @param {number} [x] @param {number} [y] */
  zoomBy(factor, x = this.x, y = this.y) {
    const zoom = clamp(this.zoom * factor, 1, MOST_ZOOM);
    const rest = this.zoom / zoom;
    this.set(zoom, x + (this.x - x) * rest, y + (this.y - y) * rest);
  }

  /** @param {number} dx @param {number} dy  As shares of the picture. */
  move(dx, dy) {
    this.set(this.zoom, this.x + dx, this.y + dy);
  }
}

/** @param {number} value @param {number} least @param {number} most */
function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}
