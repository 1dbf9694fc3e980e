// My usage: what a user with their own key sees of themselves.

import { html } from "../vendor/preact-htm.js";
import { download, get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href, periodOf } from "../client/route.js";
import { seesAll, session } from "../client/session.js";
import { wordsOf } from "../words/alerts.js";
import { Severity, When } from "../parts/amounts.js";
import { RangePicker } from "../parts/fields.js";
import { CsvButton, Panel, ViewHead } from "../parts/panel.js";
import { PersonUsage } from "../parts/person_usage.js";
import { Empty, Loaded } from "../parts/states.js";
import { attempt } from "../parts/toasts.js";

export function View({ query }) {
  const user = session().identity?.user;
  if (!user) return html`<div class="view"><${ViewHead} title="My usage" /><${Panel}><${Empty} title=${seesAll() ? "The admin key is nobody’s" : "No usage yet"}>${seesAll() ? html`It makes no calls. See <a href="#/users">the users</a>, or log in with a user’s key.` : "It appears here with your first call."}<//><//></div>`;
  return html`<${Mine} user=${user} query=${query} />`;
}

function Mine({ user, query }) {
  const period = query.range || query.from || query.to ? periodOf(query) : { range: "30d" };
  const path = `users/${encodeURIComponent(user)}`;
  const load = useLoad((signal) => get(path, inZone(period), signal), [path, JSON.stringify(period)], { every: 30 });
  const alerts = useLoad((signal) => get("alerts", { state: "open" }, signal), [], { every: 60 });
  const save = (format) => () => attempt(() => download(`${path}/export`, { format }, `my-usage.${format}`), "The export is being saved");
  const open = alerts.data?.alerts ?? [];
  return html`
    <div class="view">
    <${ViewHead} title="My usage" explain=${html`You are <b>${user}</b>${load.data?.team ? `, team ${load.data.team}` : ""}${load.data?.tier ? `, tier ${load.data.tier}` : ""}.${load.data?.allowed_models ? ` You may call ${load.data.allowed_models.join(", ")}.` : ""}`}><${RangePicker} query=${query} /><//>
    ${open.length > 0 && html`<${Panel} title="Worth knowing"><ul class="alert-list">${open.map((alert) => html`<li key=${alert.id}><${Severity} of=${alert.severity} /><span title=${wordsOf(alert).exact}>${wordsOf(alert).title}</span><span class="small muted"><${When} at=${alert.at} /></span></li>`)}</ul><//>`}
    <div class="filters">
      <a class="button" href=${href("records", period)}>My records</a>
      <${CsvButton} label="All my data, CSV" title="Every record of yours, for a spreadsheet" onClick=${save("csv")} />
      <${CsvButton} label="All my data, JSON Lines" title="Every record of yours, exactly" onClick=${save("jsonl")} />
    </div>
    <${Loaded} of=${load} rows=${10}>${(data) => html`<${PersonUsage} data=${data} user=${user} period=${period} />`}<//>
    </div>
  `;
}
