// Where alerts are sent: webhook, Slack, email; tried with a test message; what became of each delivery.

import { html, useState } from "../vendor/preact-htm.js";
import { get, offers, send } from "../client/api.js";
import { refreshAll, useLoad } from "../client/load.js";
import { Badge, When } from "./amounts.js";
import { DataTable } from "./data_table.js";
import { DestinationDialog } from "./destination_dialog.js";
import { Icon } from "./icons.js";
import { Panel } from "./panel.js";
import { Empty, Loaded, NotOffered } from "./states.js";
import { attempt, tell } from "./toasts.js";

export function Destinations({ isOffered }) {
  const load = useLoad((signal) => (isOffered ? get("alerts/destinations", {}, signal) : Promise.resolve({ destinations: [] })), [isOffered]);
  const [isOpen, open] = useState(false);
  const known = load.data?.destinations ?? [];
  const configured = load.data?.configured ?? [];
  const put = (destinations) => send("PUT", "alerts/destinations", { destinations });
  const remove = async (name) => (await attempt(() => put(known.filter((one) => one.name !== name)), `${name} is removed`)) && refreshAll();
  return html`
    <${Panel} title="Channels" explain="Where alerts are sent" actions=${isOffered && html`<button class="button" onClick=${() => open(true)}><${Icon} name="plus" />Add a channel</button>`}>
      ${isOffered
        ? html`<${Loaded} of=${load} rows=${2} isEmpty=${() => !known.length && !configured.length} empty=${html`<${Empty} title="Alerts stay here">Add a webhook, a Slack channel or an email address, and they are sent there too.<//>`}>
            ${() => html`<ul class="channels">${configured.map((one) => html`<${Destination} key=${one.name} one=${one} />`)}${known.map((one) => html`<${Destination} key=${one.name} one=${one} remove=${remove} />`)}</ul>`}
          <//>`
        : html`<${NotOffered} what="Sending alerts" />`}
      ${isOpen && html`<${DestinationDialog} taken=${[...known, ...configured].map((one) => one.name)} save=${(one) => put([...known, one])} onClose=${() => open(false)} />`}
    <//>
  `;
}

function Destination({ one, remove }) {
  const test = () =>
    attempt(async () => {
      const answer = await send("POST", "alerts/test", { destination: one.name });
      tell(answer.delivered ? `The test message reached ${one.name}` : `Not delivered to ${one.name}: ${answer.error}`, !answer.delivered);
    });
  return html`
    <li class="channel">
      <${Badge} tone="accent">${one.channel}<//><b>${one.name}</b>
      <span class="muted small">from ${one.min_severity}${one.kinds?.length ? `, ${one.kinds.join(", ").replaceAll("_", " ")}` : ", every kind"}${one.quiet_hours ? `, quiet ${one.quiet_hours.start}–${one.quiet_hours.end} ${one.quiet_hours.timezone}` : ""}</span>
      <button class="button" onClick=${test}>Send a test</button>
      ${remove ? html`<button class="quiet-button quiet-bad" onClick=${() => remove(one.name)}>Remove</button>` : html`<${Badge} title="Stands in alerts.yaml; change it there">alerts.yaml<//>`}
    </li>
  `;
}

const TONES = { sent: "good", pending: "warn", dead: "bad" };

export function Deliveries() {
  const load = useLoad((signal) => get("alerts/deliveries", { limit: 50 }, signal), [], { every: 30 });
  const retry = async (row) =>
    (await attempt(() => send("POST", `alerts/deliveries/${encodeURIComponent(row.id)}/retry`), `Goes to ${row.destination} again within a minute`)) && load.reload();
  const columns = offers("POST", "/alerts/deliveries/{id}/retry")
    ? [...COLUMNS, { key: "retry", head: "Again", explain: "Send a message that was given up once more", cell: (row) => row.state === "dead" && html`<button class="quiet-button" onClick=${() => retry(row)}>Try again</button>` }]
    : COLUMNS;
  return html`
    <${Panel} title="Deliveries" explain="Messages on their way, sent, and given up">
      <${Loaded} of=${load} rows=${3} isEmpty=${(data) => !data.deliveries.length} empty=${html`<${Empty} title="Nothing was sent yet" />`}>
        ${(data) => html`<${DataTable} caption="Deliveries of alerts" columns=${columns} rows=${data.deliveries} keyOf=${(row) => row.id} most=${10} />`}
      <//>
    <//>
  `;
}

const COLUMNS = [
  { key: "at", head: "When", cell: (row) => html`<${When} at=${row.at} />` },
  { key: "destination", head: "To", cell: (row) => `${row.destination} (${row.channel})` },
  { key: "alerts", head: "Alerts", cell: (row) => html`<span title=${row.alerts.map((one) => one.title).join("\n")}>${row.alerts.length}</span>` },
  { key: "state", head: "State", cell: (row) => html`<${Badge} tone=${TONES[row.state]} title=${row.error ?? ""}>${row.state}<//>` },
  { key: "attempts", head: "Tries", explain: "How often it was sent; tried again with growing pauses", isNumber: true, cell: (row) => row.attempts },
  { key: "error", head: "Error", isMinor: true, cell: (row) => row.error ?? "–" },
];
