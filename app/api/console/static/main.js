// @ts-check
import { installKey } from "./key_dialog.js";
import { watchStatus } from "./status.js";
import { fillIn } from "./texts.js";
import { TryIt } from "./try_it.js";

fillIn(document);
const tryIt = new TryIt();
installKey(() => tryIt.load());
watchStatus(/** @type {HTMLElement} */ (document.getElementById("status")), () => tryIt.load());
tryIt.load();
