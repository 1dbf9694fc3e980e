// Keys: who may call with what; made once in clear, rotated, revoked.

import { html, useState } from "../vendor/preact-htm.js";
import { get, send } from "../client/api.js";
import { refreshAll, useLoad } from "../client/load.js";
import { href, setQuery } from "../client/route.js";
import { Badge, When } from "../parts/amounts.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { Confirm } from "../parts/dialog.js";
import { Segments } from "../parts/fields.js";
import { Icon } from "../parts/icons.js";
import { KeyDialog, SecretDialog } from "../parts/key_dialogs.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { attempt } from "../parts/toasts.js";

const TONES = { active: "good", expired: "warn", revoked: "calm" };

export function View({ query }) {
  const isAll = query.show === "all";
  const load = useLoad((signal) => get("keys", { include_revoked: isAll }, signal), [isAll], { every: 60 });
  const [open, setOpen] = useState(null);
  const close = () => setOpen(null);
  const search = (query.search ?? "").toLowerCase();
  const rows = (load.data?.keys ?? []).filter((row) => `${row.key_id} ${row.user} ${row.team} ${row.name}`.toLowerCase().includes(search));
  const columns = columnsOf(setOpen);
  const revoke = async (row) => {
    if (await attempt(() => send("DELETE", `keys/${row.key_id}`), "The key is revoked, everywhere within a second")) refreshAll();
    close();
  };
  const rotate = (row) =>
    attempt(async () => {
      const made = await send("POST", `keys/${row.key_id}/rotate`, {});
      setOpen({ kind: "secret", row: made });
      refreshAll();
    });
  return html`
    <div class="view">
    <${ViewHead} title="Keys" explain="A virtual key names a user; the provider’s real key is put in its place. Only a hash is kept.">
      <${Segments} label="Show" value=${isAll ? "all" : "active"} options=${{ active: "Active", all: "All" }} onChange=${(name) => setQuery({ show: name === "all" ? "all" : null })} />
      <button class="button button-main" onClick=${() => setOpen({ kind: "make" })}><${Icon} name="plus" />Make a key</button>
    <//>
    <${Panel} title=${html`<span class="number">${rows.length}</span> keys`} actions=${html`<input data-search type="search" aria-label="Search keys" placeholder="search…" value=${query.search ?? ""} onInput=${(event) => setQuery({ search: event.target.value })} /><${TableCsv} name="keys" columns=${columns} rows=${rows} />`}>
      <${Loaded} of=${load} rows=${6} isEmpty=${() => !rows.length} empty=${html`<${Empty} title=${search ? "No key matches" : "No keys yet"}>${search ? "Try a shorter word." : "Without one, callers use their own provider keys and are told apart by fingerprint."}<//>`}>
        ${() => html`<${DataTable} caption="Virtual keys" columns=${columns} rows=${rows} sortBy="user" isCards descending=${false} keyOf=${(row) => row.key_id + row.origin} rowClass=${(row) => (row.state === "active" ? "" : "row-off")} />`}
      <//>
    <//>
    ${open?.kind === "make" && html`<${KeyDialog} onClose=${close} onMade=${(row) => setOpen({ kind: "secret", row })} />`}
    ${open?.kind === "secret" && html`<${SecretDialog} made=${open.row} onClose=${close} />`}
    ${open?.kind === "revoke" && html`<${Confirm} title="Revoke this key?" text=${`${open.row.name ?? open.row.key_id} of ${open.row.user}: calls with it are refused from now on. This cannot be undone.`} yes="Revoke" onYes=${() => revoke(open.row)} onClose=${close} />`}
    ${open?.kind === "rotate" && html`<${Confirm} title="Rotate this key?" text=${`A new key is made for ${open.row.user}; the old one goes on for 24 hours.`} yes="Rotate" onYes=${() => rotate(open.row)} onClose=${close} />`}
    </div>
  `;
}

const columnsOf = (setOpen) => [
  { key: "user", head: "User", sort: (row) => row.user, csv: (row) => row.user, cell: (row) => html`<a href=${href("user", {}, row.user)}>${row.user}</a>` },
  { key: "name", head: "Name", explain: "As it was called when made; below it the key’s id, the first twelve digits of its hash", isWide: true, sort: (row) => row.name, csv: (row) => row.name, cell: (row) => html`<span class="two-lines"><span>${row.name ?? "–"}</span><code class="small">${row.key_id}</code></span>` },
  { key: "team", head: "Team", explain: "Whose limits come on top of the user’s", isMinor: true, sort: (row) => row.team, csv: (row) => row.team, cell: (row) => row.team ?? "–" },
  { key: "tier", head: "Tier", explain: "The tier of limits.yaml whose amounts hold", isMinor: true, sort: (row) => row.tier, csv: (row) => row.tier, cell: (row) => row.tier ?? "–" },
  { key: "may", head: "May", explain: "Models allowed and limits of this key", isMinor: true, cell: (row) => mayText(row) },
  { key: "state", head: "State", isCorner: true, explain: "Only active keys open the door", sort: (row) => row.state, csv: (row) => row.state, cell: (row) => html`<${Badge} tone=${TONES[row.state]}>${row.state}<//>` },
  { key: "created", head: "Made", explain: "When, or in which file it stands", isMinor: true, sort: (row) => row.created_at, csv: (row) => row.created_at, cell: (row) => (row.origin === "api" ? html`<${When} at=${row.created_at} />` : html`<${Badge} title="Stands in limits.yaml; change it there">limits.yaml<//>`) },
  { key: "expires", head: "Ends", explain: "When it expires, or was revoked", isMinor: true, sort: (row) => row.expires_at, csv: (row) => row.expires_at, cell: (row) => html`<${When} at=${row.revoked_at ?? row.expires_at} none="never" />` },
  { key: "records", head: html`<span class="unseen">Actions</span>`, isActions: true, cell: (row) => html`<span class="row-actions"><a class="quiet-button" href=${href("records", { key: row.key_id, range: "30d" })}>Records</a>
      ${row.origin === "api" && row.state === "active" && html`<button class="quiet-button" onClick=${() => setOpen({ kind: "rotate", row })}>Rotate</button><button class="quiet-button quiet-bad" onClick=${() => setOpen({ kind: "revoke", row })}>Revoke</button>`}</span>` },
];

function mayText({ settings }) {
  const parts = [];
  if (settings?.models) parts.push(settings.models.join(", "));
  if (settings?.limits) parts.push("own limits");
  if (settings?.may_speak_for_others) parts.push("speaks for others");
  return html`<span title=${JSON.stringify(settings)}>${parts.join("; ") || "as the user"}</span>`;
}
