// @ts-check
// "Models": what is served, by what and where it computes, and why; and what is not served.
import { byId, element, say } from "./elements.js";
import { served, Trouble } from "./service.js";
import { texts } from "./texts.js";

export class ModelsView {
  #list = byId("models-list");

  /** Ask again. */
  async load() {
    try {
      const { models, failed, not_loaded: away } = await served();
      const parts = models.map(modelCard);
      if (failed.length) parts.push(failures(failed));
      if (away.length) parts.push(element("p", texts.notLoaded(away.join(", "))));
      this.#list.replaceChildren(...parts);
      say(byId("models-trouble"), "");
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      say(byId("models-trouble"), error.message);
    }
  }
}

/** @param {any} model  The API's `ModelInfo`. */
function modelCard(model) {
  const title = element("h3", texts.modelTitle(model.name, model.task, model.default));
  title.id = `model-${model.name}`;
  const head = element("tr", ...texts.columns.map((name) => element("th", name)));
  const rows = model.versions.map((/** @type {any} */ version) => versionRow(model, version));
  const table = element("table", element("thead", head), element("tbody", ...rows));
  table.setAttribute("aria-labelledby", title.id);
  const scrolled = element("div", table);
  scrolled.className = "scrolled";
  scrolled.tabIndex = 0;
  scrolled.setAttribute("role", "region");
  scrolled.setAttribute("aria-labelledby", title.id);
  const card = element("article", title, scrolled, element("p", model.labels.join(", ")));
  card.className = "pane";
  return card;
}

/** @param {any} model @param {any} version */
function versionRow(model, version) {
  return element(
    "tr",
    element("td", version.version),
    element("td", share(model, version.version)),
    element("td", version.engine),
    withReason(version.precision, version.precision_reason),
    withReason(version.device, version.device_reason),
    withReason(version.decode_device, version.decode_reason),
    withReason(String(version.max_batch_size), version.batch_reason),
  );
}

/** @param {any} model @param {string} version */
function share(model, version) {
  const shares = Object.keys(model.traffic).length ? model.traffic : { [model.default_version]: 100 };
  const said = texts.percent(shares[version] ?? 0);
  return version in model.shadow ? `${said}, ${texts.shadow} ${texts.percent(model.shadow[version])}` : said;
}

/** @param {string} what @param {string} why */
function withReason(what, why) {
  const reason = element("div", why);
  reason.className = "hint";
  return element("td", what, reason);
}

/** @param {any[]} failed  The API's `FailedModel`s. */
function failures(failed) {
  const rows = failed.map(({ name, reason, serving }) => element("li", texts.failed(name, reason, serving)));
  const card = element("article", element("h3", texts.notServed), element("ul", ...rows));
  card.className = "pane trouble";
  return card;
}
