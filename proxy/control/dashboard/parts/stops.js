// The emergency stop: everything, a provider, a model, a team, a user or a key; let go again with one press.

import { html, useState } from "../vendor/preact-htm.js";
import { send } from "../client/api.js";
import { refreshAll } from "../client/load.js";
import { When } from "./amounts.js";
import { Dialog } from "./dialog.js";
import { Field } from "./fields.js";
import { Icon } from "./icons.js";
import { options } from "./override_dialog.js";
import { Panel } from "./panel.js";
import { Empty, Loaded } from "./states.js";
import { attempt, tell } from "./toasts.js";

const SCOPES = { user: "A user", team: "A team", model: "Models, by pattern", provider: "A provider", key: "A key, by its id", all: "Everything" };

export async function letGo({ scope, value }) {
  if (await attempt(() => send("POST", "switch", { scope, value, stopped: false }), `Released: ${nameOf({ scope, value })}`)) refreshAll();
}

export const nameOf = ({ scope, value }) => (scope === "all" ? "everything" : `${scope} ${value}`);

export function StopDialog({ scope = "user", value = "", onClose }) {
  const [form, set] = useState({ scope, value, reason: "", cut_streams: false });
  const [failure, setFailure] = useState(null);
  const isFixed = Boolean(value);
  const submit = async (event) => {
    event.preventDefault();
    const body = { ...form, value: form.scope === "all" ? "" : form.value.trim(), stopped: true, reason: form.reason || null };
    try {
      await send("POST", "switch", body);
      tell(`Stopped: ${nameOf(body)}`);
      onClose();
      refreshAll();
    } catch (reason) {
      setFailure(reason.message);
    }
  };
  return html`
    <${Dialog} title="Emergency stop" onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <p class="muted">New calls are refused on every replica within a second, until it is released.</p>
        <div class="form-row">
          <${Field} label="Stop"><select name="scope" disabled=${isFixed} value=${form.scope} onChange=${(event) => set({ ...form, scope: event.target.value })}>${options(SCOPES)}</select><//>
          ${form.scope !== "all" && html`<${Field} label="Which"><input name="value" required disabled=${isFixed} value=${form.value} onInput=${(event) => set({ ...form, value: event.target.value })} /><//>`}
        </div>
        <${Field} label="Reason" hint="Told to the callers, and in the audit log"><input name="reason" maxlength="300" value=${form.reason} onInput=${(event) => set({ ...form, reason: event.target.value })} /><//>
        <label class="check"><input type="checkbox" checked=${form.cut_streams} onChange=${(event) => set({ ...form, cut_streams: event.target.checked })} />Also cut answers that are on their way</label>
        <p class="form-failure" role="alert">${failure}</p>
        <footer class="dialog-foot"><button type="button" class="button" onClick=${onClose}>Cancel</button><button class="button button-bad"><${Icon} name="stop" />Stop now</button></footer>
      </form>
    <//>
  `;
}

export function StopsPanel({ stops }) {
  const [isOpen, open] = useState(false);
  return html`
    <${Panel} title="Emergency stop" actions=${html`<button class="button button-bad" onClick=${() => open(true)}><${Icon} name="stop" />Stop…</button>`}>
      <${Loaded} of=${stops} rows=${2} isEmpty=${(data) => !data.stops.length} empty=${html`<${Empty} title="Nothing is stopped">All calls within their limits go through.<//>`}>
        ${(data) => html`<ul class="stack">${data.stops.map((stop) => html`<li class="note note-bad" key=${nameOf(stop)}><span><b>${nameOf(stop)}</b> ${stop.reason} <span class="small">by ${stop.by}, <${When} at=${stop.at} />${stop.cut_streams ? ", streams cut" : ""}</span></span><button class="button" onClick=${() => letGo(stop)}>Release</button></li>`)}</ul>`}
      <//>
      ${isOpen && html`<${StopDialog} onClose=${() => open(false)} />`}
    <//>
  `;
}
