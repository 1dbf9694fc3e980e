// Making a key, and showing it this once.

import { html, useState } from "../vendor/preact-htm.js";
import { send } from "../client/api.js";
import { refreshAll } from "../client/load.js";
import { Dialog } from "./dialog.js";
import { Field } from "./fields.js";
import { options } from "./override_dialog.js";
import { tell } from "./toasts.js";

const ENDS = { never: "never", d1: "in a day", d7: "in a week", d30: "in 30 days", d90: "in 90 days", d365: "in a year" };

export function KeyDialog({ onClose, onMade }) {
  const [form, set] = useState({ user: "", name: "", team: "", tier: "", days: "never", models: "", budget: "", speaks: false });
  const [failure, setFailure] = useState(null);
  const change = (name) => (event) => set({ ...form, [name]: event.target.value });
  const input = (name, label, hint, more = {}) => html`<${Field} label=${label} hint=${hint}><input name=${name} value=${form[name]} onInput=${change(name)} ...${more} /><//>`;
  const submit = async (event) => {
    event.preventDefault();
    try {
      const made = await send("POST", "keys", bodyOf(form));
      refreshAll();
      onMade(made);
    } catch (reason) {
      setFailure(reason.message);
    }
  };
  return html`
    <${Dialog} title="Make a key" onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <div class="form-row">${input("user", "User", "Who is limited and billed", { required: true })}${input("name", "Name", "laptop, ci, …")}</div>
        <div class="form-row">${input("team", "Team")}${input("tier", "Tier")}</div>
        ${input("models", "Models", "Patterns separated by commas; empty: all that the user may call")}
        <div class="form-row">
          ${input("budget", "Dollars a month", "Of this key alone; empty: no limit of its own", { inputmode: "decimal", pattern: "[0-9]+([.][0-9]+)?" })}
          <${Field} label="Ends"><select name="days" value=${form.days} onChange=${change("days")}>${options(ENDS)}</select><//>
        </div>
        <label class="check"><input type="checkbox" checked=${form.speaks} onChange=${(event) => set({ ...form, speaks: event.target.checked })} />May speak for other users (a service’s key)</label>
        <p class="form-failure" role="alert">${failure}</p>
        <footer class="dialog-foot"><button type="button" class="button" onClick=${onClose}>Cancel</button><button class="button button-main">Make</button></footer>
      </form>
    <//>
  `;
}

export function bodyOf({ user, name, team, tier, days, models, budget, speaks }) {
  const body = { user: user.trim() };
  for (const [field, value] of Object.entries({ name, team, tier })) if (value.trim()) body[field] = value.trim();
  if (days !== "never") body.expires_at = new Date(Date.now() + Number(days.slice(1)) * 86_400_000).toISOString();
  if (models.trim()) body.models = models.split(",").map((one) => one.trim()).filter(Boolean);
  if (budget.trim()) body.limits = { cost_usd: { per_month: budget.trim() } };
  if (speaks) body.may_speak_for_others = true;
  return body;
}

export function SecretDialog({ made, onClose }) {
  const copy = async () => {
    await navigator.clipboard?.writeText(made.key);
    tell("The key is copied");
  };
  return html`
    <${Dialog} title="Here is the key" onClose=${onClose} wide>
      <p>For <b>${made.user}</b>. It is shown this once and kept only as a hash: copy it now.</p>
      <p class="secret"><code>${made.key}</code><button class="button" onClick=${copy}>Copy</button></p>
      <p class="muted small">Use it where the provider’s key would stand, with <code>OPENAI_BASE_URL=${location.origin}/v1</code></p>
      <footer class="dialog-foot"><button class="button button-main" onClick=${onClose}>I have it</button></footer>
    <//>
  `;
}
