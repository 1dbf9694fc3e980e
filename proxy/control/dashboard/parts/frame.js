// What stands around every view: navigation, the live strip, who is logged in.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { endSession, get } from "../client/api.js";
import { useLive, forgetLive } from "../client/live.js";
import { useLoad } from "../client/load.js";
import { href, periodOf } from "../client/route.js";
import { chooseZone, chosenZone, seesAll, logOut, session, zone } from "../client/session.js";
import { shortUsd } from "../words/money.js";
import { compact, count, plural } from "../words/numbers.js";
import { zoneName } from "../words/times.js";
import { Icon } from "./icons.js";
import { attempt } from "./toasts.js";

const LATER_MS = 1500;
const ADMIN_VIEWS = [
  ["overview", "Overview", "overview"],
  ["explore", "Explore", "explore"],
  ["users", "Users & teams", "users"],
  ["limits", "Limits", "limits"],
  ["alerts", "Alerts", "alerts"],
  ["records", "Records", "records"],
  ["models", "Models & prices", "models"],
  ["keys", "Keys", "keys"],
  ["audit", "Audit", "audit"],
  ["system", "System", "system"],
];
const USER_VIEWS = [
  ["my-usage", "My usage", "mine"],
  ["records", "My records", "records"],
  ["explore", "Explore", "explore"],
];

export const viewsFor = (isAllowedAll) => (isAllowedAll ? ADMIN_VIEWS : USER_VIEWS);

export function Frame({ current, onFind, onHelp, onTheme, children }) {
  const [isOpen, open] = useState(false);
  useEffect(() => open(false), [current.view, current.part]);
  return html`
    <a class="skip-link" href="#content" onClick=${skip}>Skip to the content</a>
    <div class=${"frame" + (isOpen ? " frame-open" : "")}>
      <header class="bar">
        <button class="icon-button only-narrow" aria-label="Menu" aria-expanded=${String(isOpen)} aria-controls="navigation" onClick=${() => open(!isOpen)}><${Icon} name="menu" /></button>
        <a class="brand" href="#/"><img src="/dashboard/icon.svg" alt="" width="24" height="24" /><span>Weighbridge</span></a>
        <${LiveStrip} />
        <div class="bar-end">
          <button class="find-button" title="Go to a view, a user, a team, a model or a call (Ctrl K)" onClick=${onFind}><${Icon} name="search" /><span class="find-word">Find</span><kbd class="not-narrow" aria-hidden="true">Ctrl K</kbd></button>
          <${ZoneChoice} />
          <button class="icon-button not-narrow" title="Keyboard shortcuts (?)" aria-label="Keyboard shortcuts" onClick=${onHelp}><${Icon} name="help" /></button>
          <button class="icon-button" title="Light or dark (t)" aria-label="Light or dark" onClick=${onTheme}><${Icon} name="theme" /></button>
          <button class="icon-button" title=${`Log out (${who()})`} aria-label="Log out" onClick=${leave}><${Icon} name="out" /></button>
        </div>
      </header>
      <${Navigation} current=${current} />
      <main id="content" tabindex="-1">${children}</main>
    </div>
  `;
}

const who = () => session().identity?.name?.replace(/^user:/, "") ?? "user";

async function leave() {
  forgetLive();
  await attempt(endSession);
  logOut();
}

function skip(event) {
  event.preventDefault();
  document.getElementById("content").focus();
}

function Navigation({ current }) {
  const here = current.view === "user" || current.view === "team" ? "users" : current.view === "record" ? "records" : current.view;
  const keep = periodOf(current.query);
  return html`
    <nav id="navigation" class="navigation" aria-label="Views">
      <ul>
        ${viewsFor(seesAll()).map(
          ([view, title, icon]) => html`<li key=${view}><a href=${href(view, ["explore", "overview", "models"].includes(view) ? keep : {})} aria-current=${view === here ? "page" : undefined}><${Icon} name=${icon} />${title}${view === "alerts" && html`<${OpenAlerts} />`}</a></li>`,
        )}
      </ul>
      <p class="navigation-foot" title="Who is logged in, and the release that runs">${who()}${session().identity?.version ? ` · v${session().identity.version}` : ""}</p>
    </nav>
  `;
}

/** How many alerts are open, beside the word; asked when the view itself has had its turn. */
function OpenAlerts() {
  const load = useLoad(async (signal) => (await new Promise((wake) => setTimeout(wake, LATER_MS)), get("alerts", { state: "open", limit: 100 }, signal)), [], { every: 60 });
  const open = load.data?.alerts ?? [];
  if (!open.length) return null;
  const isBad = open.some((alert) => alert.severity === "critical");
  return html`<span class=${"navigation-count" + (isBad ? " navigation-count-bad" : "")} title=${`${plural(open.length, "open alert")}${isBad ? ", one of them critical at least" : ""}`}>${open.length}${load.data.next_cursor ? "+" : ""}<span class="unseen"> open</span></span>`;
}

function LiveStrip() {
  const live = useLive();
  const title = live.isOn ? "Calls as they happen, mean of the last minute" : "The live stream is not connected; trying again";
  return html`
    <p class=${"live" + (live.isOn ? " live-on" : "")} title=${title}>
      <span class="live-dot" aria-hidden="true"></span><span class="unseen">${live.isOn ? "live" : "not live"}</span>
      <span class="live-rate" title="Calls in the last minute"><b class="number">${count(live.callsPerMinute)}</b> calls/min</span>
      <span class="live-rate not-narrow" title="Tokens a second, mean of the last minute"><b class="number">${compact(live.tokensPerSecond)}</b> tokens/s</span>
      <span class="live-rate" title="Cost of the last minute"><b class="number">${shortUsd(live.minuteCost)}</b>/min</span>
    </p>
  `;
}

/** The zone in which days begin and times are shown: the house's, or the browser's. */
function ZoneChoice() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const house = session().identity?.timezone ?? "UTC";
  const name = zoneName(Date.now(), zone());
  if (own === house && !chosenZone()) return html`<span class="zone not-narrow" title=${`Days begin and times are shown in ${house}`}>${name}</span>`;
  const turn = () => chooseZone(chosenZone() ? null : own);
  return html`<button class="quiet-button zone not-narrow" title=${`Days begin and times are shown in ${zone()}. Press for ${chosenZone() ? house : own}`} onClick=${turn}>${name}</button>`;
}
