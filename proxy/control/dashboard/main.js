// The start: who looks, which view, and the keys that work everywhere.

import { html, render, useEffect, useState } from "./vendor/preact-htm.js";
import { identify } from "./client/api.js";
import { SHORTCUTS, listenToKeys } from "./client/keyboard.js";
import { useRoute } from "./client/route.js";
import { resume, seesAll, session, subscribe, zone } from "./client/session.js";
import { Dialog } from "./parts/dialog.js";
import { Frame } from "./parts/frame.js";
import { Empty, NotAllowed, Skeleton } from "./parts/states.js";
import { Toasts } from "./parts/toasts.js";
import { LogIn } from "./views/log_in.js";

const VIEWS = {
  overview: () => import("./views/overview.js"),
  explore: () => import("./views/explore.js"),
  users: () => import("./views/users.js"),
  user: () => import("./views/user.js"),
  limits: () => import("./views/limits.js"),
  alerts: () => import("./views/alerts.js"),
  records: () => import("./views/records.js"),
  record: () => import("./views/record.js"),
  models: () => import("./views/models.js"),
  keys: () => import("./views/keys.js"),
  audit: () => import("./views/audit.js"),
  system: () => import("./views/system.js"),
  "my-usage": () => import("./views/my_usage.js"),
};
const FOR_USERS = ["my-usage", "records", "record", "explore"];

function Dashboard() {
  const [state, setState] = useState(session());
  const [isHelp, setHelp] = useState(false);
  const [isFinding, setFinding] = useState(false);
  useEffect(() => subscribe(setState), []);
  useEffect(() => {
    resume(identify);
    return listenToKeys({ onFind: () => session().phase === "in" && setFinding(true), onHelp: () => setHelp(true), onTheme: () => globalThis.weighbridgeTheme.toggle(), seesAll });
  }, []);
  if (state.phase === "checking") return html`<main class="checking"><h1 class="unseen">Weighbridge</h1><${Skeleton} rows=${6} /></main>`;
  if (state.phase === "out") return html`<${LogIn} failure=${state.failure} />`;
  return html`
    <${Inside} onFind=${() => setFinding(true)} onHelp=${() => setHelp(true)} />
    <${Toasts} />
    ${isHelp && html`<${Help} onClose=${() => setHelp(false)} />`}
    ${isFinding && html`<${Later} load=${() => import("./parts/finder.js")} onClose=${() => setFinding(false)} />`}
  `;
}

/** A part that is fetched when it is first wanted. */
function Later({ load, onClose }) {
  const [found, set] = useState(null);
  useEffect(() => {
    load().then((module) => set(() => module.Finder), onClose);
  }, []);
  return found && html`<${found} onClose=${onClose} />`;
}

function Inside({ onFind, onHelp }) {
  const current = useRoute();
  const view = !seesAll() && current.view === "overview" ? "my-usage" : current.view;
  return html`
    <${Frame} current=${{ ...current, view }} onFind=${onFind} onHelp=${onHelp} onTheme=${() => globalThis.weighbridgeTheme.toggle()}>
      <${Shown} key=${`${view}/${current.part ?? ""}/${zone()}`} view=${view} part=${current.part} query=${current.query} />
    <//>
  `;
}

/** A view's module is fetched when it is first opened. */
function Shown({ view, part, query }) {
  const [found, set] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    VIEWS[view]?.().then(
      (module) => set(() => module.View),
      (reason) => setFailure(reason),
    );
    scrollTo(0, 0);
  }, [view]);
  if (!VIEWS[view]) return html`<div class="view"><h1>Not found</h1><${Empty} title="There is no such view"><a href="#/">Overview</a><//></div>`;
  if (!seesAll() && !FOR_USERS.includes(view)) return html`<div class="view"><h1 class="unseen">Not allowed</h1><${NotAllowed} /></div>`;
  if (failure) return html`<div class="view"><h1 class="unseen">Failed</h1><${Empty} title="This view could not be loaded">Load the page again.<//></div>`;
  if (!found) return html`<div class="view" key="coming"><h1 class="unseen">Loading</h1><${Skeleton} rows=${8} /></div>`;
  return html`<${found} key="here" part=${part} query=${query} />`;
}

const Help = ({ onClose }) => html`
  <${Dialog} title="Keyboard shortcuts" onClose=${onClose}>
    <dl class="shortcuts">${SHORTCUTS.map(([keys, what]) => html`<div key=${keys}><dt>${keys.split(" ").map((one) => html`<kbd>${one}</kbd>`)}</dt><dd>${what}</dd></div>`)}</dl>
    <p class="muted">In a chart, arrow keys move over the columns and Enter shows the records of one.</p>
  <//>
`;

const root = document.getElementById("root");
root.textContent = "";
render(html`<${Dashboard} />`, root);
