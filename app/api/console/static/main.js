// @ts-check
import { installKey } from "./key_dialog.js";
import { ModelsView } from "./models_view.js";
import { QueueView } from "./queue_view.js";
import { watchStatus } from "./status.js";
import { fillIn } from "./texts.js";
import { TryIt } from "./try_it.js";
import { installViews } from "./views.js";

fillIn(document);
const views = { try: new TryIt(), models: new ModelsView(), queue: new QueueView() };
const reload = () => Promise.all(Object.values(views).map((view) => view.load()));
installKey(reload);
watchStatus(/** @type {HTMLElement} */ (document.getElementById("status")), reload);
installViews(views);
reload();
