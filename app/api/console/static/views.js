// @ts-check
// Which part of the page is shown: the address says it after `#`, so that it can be linked to and gone back to.

/** Views by what the address calls them; the first is shown where it names none. Of each there are a section
 * `NAME-view` and a link `#NAME`; who comes to one has it loaded anew, and the others
 * are told that nobody looks at them.
 * @param {Record<string, {load: () => unknown, leave?: () => unknown}>} views */
export function installViews(views) {
  const names = Object.keys(views);
  const show = () => {
    const named = location.hash.slice(1);
    const shown = names.includes(named) ? named : names[0];
    for (const name of names) {
      const section = document.getElementById(`${name}-view`);
      section?.toggleAttribute("hidden", name !== shown);
      const link = document.querySelector(`nav a[href="#${name}"]`);
      if (name === shown) link?.setAttribute("aria-current", "page");
      else link?.removeAttribute("aria-current");
    }
    return shown;
  };
  addEventListener("hashchange", () => {
    const shown = show();
    for (const name of names) if (name !== shown) views[name].leave?.();
    views[shown].load();
  });
  show();
}
