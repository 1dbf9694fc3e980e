// Calls as they happen, newest on top; can be held still to read.

import { html } from "../vendor/preact-htm.js";
import { pauseLive, useLive } from "../client/live.js";
import { href } from "../client/route.js";
import { zone } from "../client/session.js";
import { localClock } from "../words/times.js";
import { Count, Outcome, Usd } from "./amounts.js";
import { Icon } from "./icons.js";
import { Panel } from "./panel.js";
import { Empty } from "./states.js";

export function LiveFeed() {
  const live = useLive();
  const actions = html`
    ${live.missed > 0 && html`<span class="muted small" title="This viewer was too slow for them; they are in the ledger all the same">${live.missed} not shown</span>`}
    <button class="quiet-button" aria-pressed=${String(live.isPaused)} onClick=${() => pauseLive(!live.isPaused)}><${Icon} name=${live.isPaused ? "play" : "pause"} />${live.isPaused ? "Go on" : "Hold"}</button>
  `;
  return html`
    <${Panel} title="Live" explain="Calls as they are answered" actions=${actions}>
      ${live.latest.length
        ? html`<ul class="feed" tabindex="0" aria-label="Latest calls">${live.latest.map((call) => html`<${Call} key=${call.id} call=${call} />`)}</ul>`
        : html`<${Empty} title=${live.isOn ? "Waiting for the next call" : "Not connected"}>Calls appear here as they are answered.<//>`}
    <//>
  `;
}

const Call = ({ call }) => html`
  <li>
    <a class="number" href=${href("record", {}, call.id)} title="Open this call">${localClock(call.started_at, zone())}</a>
    <span class="clip">${call.user} → ${call.response_model ?? call.request_model ?? call.path}</span>
    <span class="muted"><${Count} of=${call.total_tokens} what="tokens" /> tokens · ${call.cost_usd === null ? "–" : html`<${Usd} of=${call.cost_usd} />`}</span>
    <${Outcome} of=${call.outcome} />
  </li>
`;
