// @ts-check
// "Live": the service's figures, as they come, while they are looked at.
import { byId, element, say } from "./elements.js";
import { linesOf } from "./queue_service.js";
import { ask, Trouble } from "./service.js";
import { inAmount, inMemory, inSeconds, inShare, texts } from "./texts.js";

const AGAIN_SECONDS = 2;
const MOST_POINTS = 150;

/** @typedef {{at: number, seconds: number | null, ready: boolean, device: string, checks: Record<string, string>, flow: any,
 *   core: any, queues: any[], gpus: any[], models: any[]}} Figures  What `app/telemetry/figures.py` says. */

export class LiveView {
  /** @type {AbortController | null} */ #open = null;
  /** @type {number[]} */ #points = [];

  constructor() {
    document.addEventListener("visibilitychange", () => this.load());
    new ResizeObserver(() => this.#draw()).observe(byId("live-rate"));
  }

  /** Listen while the view is looked at, and not else. */
  load() {
    const looked = !byId("live-view").hidden && !document.hidden;
    if (looked === (this.#open !== null)) return;
    this.#open?.abort();
    this.#open = looked ? new AbortController() : null;
    if (this.#open) this.#listen(this.#open.signal);
  }

  /** Nobody looks any more. */
  leave() {
    this.#open?.abort();
    this.#open = null;
  }

  /** @param {AbortSignal} signal */
  async #listen(signal) {
    while (!signal.aborted) {
      let heard = false;
      try {
        const response = await ask("console/live", { signal });
        for await (const line of linesOf(response)) {
          if (signal.aborted) return;
          if (!line.startsWith("data: ")) continue;
          this.#show(JSON.parse(line.slice(6)));
          this.#say(false, "");
          heard = true;
        }
        // A stream ends after a minute, to be asked for again: that the service has gone the next try says.
        if (!heard) this.#say(true, texts.liveLost);
      } catch (error) {
        if (signal.aborted) return;
        this.#say(true, error instanceof Trouble ? error.message : texts.liveLost);
      }
      await new Promise((done) => setTimeout(done, AGAIN_SECONDS * 1000));
    }
  }

  /** @param {boolean} stale  What is shown is of then, and not of now. @param {string} sentence */
  #say(stale, sentence) {
    say(byId("live-trouble"), sentence);
    byId("live-figures").toggleAttribute("data-stale", stale);
  }

  /** @param {Figures} now */
  #show(now) {
    const { flow, core } = now;
    const pictures = Object.values(flow.pictures).reduce((sum, rate) => sum + (rate ?? 0), 0);
    this.#points = [...this.#points, pictures].slice(-MOST_POINTS);
    this.#draw();
    byId("live-now").textContent = texts.liveRate(inAmount(pictures));
    facts("live-flow", [
      ...Object.entries(flow.pictures).map(([source, rate]) => [texts.liveSource(source), inAmount(rate)]),
      [texts.liveRequests, inAmount(flow.http_requests)],
      [texts.liveFailed, inAmount(flow.failed)],
    ]);
    facts("live-core", [
      [texts.liveDevice, now.device],
      [texts.liveLanes, inAmount(core.lanes)],
      [texts.liveBatch, inAmount(core.batch_size)],
      [texts.liveFill, inShare(core.batch_fill)],
      [texts.liveWaiting, `${inAmount(core.waiting)} / ${inAmount(core.in_flight)}`],
      [texts.liveOldest, inSeconds(core.oldest_waiting)],
      [texts.liveMemory, inMemory(core.memory, core.memory_limit)],
      ...now.gpus.map((gpu) => [texts.liveGpu(gpu.gpu), `${inShare(gpu.busy)}, ${inMemory(gpu.memory, gpu.memory_total)}`]),
    ]);
    rows("live-latency", Object.entries(flow.latency).map(([stage, values]) => [
      texts.stages[stage] ?? stage,
      .../** @type {(number | null)[]} */ (values).map(inSeconds),
    ]));
    rows("live-models", now.models.map((model) => [
      texts.versionOf(model.model, model.version),
      model.engine,
      model.device,
      inAmount(model.pictures),
      ...model.latency.map(inSeconds),
    ]));
    byId("live-queues-part").hidden = now.queues.length === 0;
    rows("live-queues", now.queues.map((queue) => [
      queue.queue,
      queue.connected ? texts.liveConnected : texts.liveDisconnected,
      inAmount(queue.waiting),
      inAmount(queue.dead_letters),
      inAmount(queue.held),
      inSeconds(queue.oldest),
      inAmount(queue.credit),
      inAmount(queue.settled),
    ]));
    facts("live-checks", Object.entries(now.checks));
  }

  /** The pictures a second of the last minutes, as a line. */
  #draw() {
    const canvas = /** @type {HTMLCanvasElement} */ (byId("live-rate"));
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const most = Math.max(1, ...this.#points);
    context.scale(scale, scale);
    context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--accent");
    context.lineWidth = 2;
    context.beginPath();
    this.#points.forEach((value, index) => {
      const x = width - 2 - ((this.#points.length - 1 - index) * width) / MOST_POINTS;
      context.lineTo(x, height - 3 - (value / most) * (height - 6));
    });
    context.stroke();
    canvas.setAttribute("aria-label", texts.liveChart(inAmount(this.#points.at(-1) ?? null), inAmount(most)));
  }
}

/** @param {string} id @param {string[][]} found */
function facts(id, found) {
  byId(id).replaceChildren(...found.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

/** @param {string} id @param {string[][]} found */
function rows(id, found) {
  byId(id).replaceChildren(...found.map((cells) => element("tr", ...cells.map((cell) => element("td", cell)))));
}
