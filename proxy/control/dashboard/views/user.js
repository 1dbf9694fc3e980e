// One user: what they used, of what, in which sessions, what they may, and the levers: override, emergency stop.

import { html, useState } from "../vendor/preact-htm.js";
import { download, get, inZone, send } from "../client/api.js";
import { refreshAll, useLoad } from "../client/load.js";
import { href, periodOf } from "../client/route.js";
import { Badge, When } from "../parts/amounts.js";
import { Confirm } from "../parts/dialog.js";
import { RangePicker } from "../parts/fields.js";
import { Icon } from "../parts/icons.js";
import { OverrideDialog } from "../parts/override_dialog.js";
import { CsvButton, ViewHead } from "../parts/panel.js";
import { PersonUsage } from "../parts/person_usage.js";
import { Loaded } from "../parts/states.js";
import { StopDialog, letGo } from "../parts/stops.js";
import { attempt } from "../parts/toasts.js";

export function View({ part: user, query }) {
  const period = query.range || query.from || query.to ? periodOf(query) : { range: "30d" };
  const path = `users/${encodeURIComponent(user)}`;
  const load = useLoad((signal) => get(path, inZone(period), signal), [path, JSON.stringify(period)], { every: 60 });
  const stops = useLoad((signal) => get("switch", {}, signal), []);
  const [open, setOpen] = useState(null);
  const close = () => setOpen(null);
  const stop = stops.data?.stops.find((one) => one.scope === "user" && one.value === user);
  return html`
    <div class="view">
    <${ViewHead} title=${user} explain=${load.data && html`<${Standing} data=${load.data} />`}><${RangePicker} query=${query} /><//>
    ${stop && html`<p class="note note-bad"><span><b>Stopped.</b> ${stop.reason || "No reason was given."} <span class="small">by ${stop.by}, <${When} at=${stop.at} /></span></span><button class="button" onClick=${() => letGo(stop)}>Release</button></p>`}
    ${load.data?.override && html`<${OverrideNote} override=${load.data.override} path=${path} />`}
    <div class="filters">
      <button class="button" onClick=${() => setOpen("override")}><${Icon} name="limits" />Override limits</button>
      ${!stop && html`<button class="button button-bad" onClick=${() => setOpen("stop")}><${Icon} name="stop" />Emergency stop</button>`}
      <a class="button" href=${href("explore", { user, group_by: "model", ...period })}><${Icon} name="explore" />Explore</a>
      <a class="button" href=${href("records", { user, ...period })}><${Icon} name="records" />Records</a>
      <${CsvButton} label="All their data" title="Every record of this person, as JSON Lines" onClick=${() => attempt(() => download(`${path}/export`, { format: "jsonl" }, `${user}.jsonl`), "The export is being saved")} />
      <button class="quiet-button quiet-bad" onClick=${() => setOpen("erase")}>Erase their data</button>
    </div>
    <${Loaded} of=${load} rows=${10}>${(data) => html`<${PersonUsage} data=${data} user=${user} period=${period} />`}<//>
    ${open === "override" && html`<${OverrideDialog} user=${user} onClose=${close} />`}
    ${open === "stop" && html`<${StopDialog} scope="user" value=${user} onClose=${close} />`}
    ${open === "erase" && html`<${Confirm} title=${`Erase all data of ${user}?`} text="Their records are made nameless or removed, their keys revoked, their override taken away. Totals stay true. This cannot be undone." yes="Erase" onClose=${close}
      onYes=${async () => (await attempt(() => send("DELETE", `${path}/data`), `The data of ${user} is gone`)) && (close(), refreshAll())} />`}
    </div>
  `;
}

const Standing = ({ data }) => html`
  <span class="person">${data.team && html`<a href=${href("users", { team: data.team })}>team ${data.team}</a>`}${data.tier && html`<${Badge} tone="accent" title="Tier">${data.tier}<//>`}
  ${data.allowed_models ? html`<span title="The models this user may call">may call ${data.allowed_models.join(", ") || "no model"}</span>` : html`<span>may call every model</span>`}</span>
`;

function OverrideNote({ override, path }) {
  const remove = async () => (await attempt(() => send("DELETE", `${path}/limits`), "The override is gone; the YAML holds again")) && refreshAll();
  return html`<p class="note note-warn"><span><b>Limits are overridden.</b> ${override.reason ?? ""} <span class="small">by ${override.by}, <${When} at=${override.at} />${override.until ? html`, ends <${When} at=${override.until} />` : ", without an end"}</span></span><button class="button" onClick=${remove}>Remove override</button></p>`;
}
