// An override: one limit of one user, set above the YAML, with a reason and perhaps an end.

import { html, useState } from "../vendor/preact-htm.js";
import { send } from "../client/api.js";
import { refreshAll } from "../client/load.js";
import { zone } from "../client/session.js";
import { localDate, plusDays } from "../words/times.js";
import { Dialog } from "./dialog.js";
import { Field } from "./fields.js";
import { tell } from "./toasts.js";

export const RESOURCES = { tokens: "Tokens", input_tokens: "Input tokens", output_tokens: "Output tokens", cost_usd: "Cost (USD)", requests: "Calls", concurrent_requests: "Calls at once" };
export const WINDOWS = { per_minute: "a minute", per_hour: "an hour", per_day: "a day", per_month: "a month", total: "in all" };
const ENDS = { hour: "in an hour", midnight: "at midnight", week: "in a week", month: "at the month’s end", never: "when it is removed" };

export function OverrideDialog({ user, onClose }) {
  const [form, set] = useState({ resource: "tokens", window: "per_day", amount: "", ends: "midnight", reason: "" });
  const [failure, setFailure] = useState(null);
  const change = (name) => (event) => set({ ...form, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    try {
      await send("PATCH", `users/${encodeURIComponent(user)}/limits`, bodyOf(form));
      tell(`The override for ${user} is in force`);
      onClose();
      refreshAll();
    } catch (reason) {
      setFailure(reason.message);
    }
  };
  return html`
    <${Dialog} title=${`Override limits of ${user}`} onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <div class="form-row">
          <${Field} label="Limit"><select name="resource" value=${form.resource} onChange=${change("resource")}>${options(RESOURCES)}</select><//>
          ${form.resource !== "concurrent_requests" && html`<${Field} label="Window"><select name="window" value=${form.window} onChange=${change("window")}>${options(WINDOWS)}</select><//>`}
        </div>
        <${Field} label="Amount" hint=${form.resource === "cost_usd" ? "Dollars, as exact as you like; or the word unlimited" : "A whole number; or the word unlimited"}>
          <input name="amount" required inputmode="decimal" pattern=${form.resource === "cost_usd" ? "[0-9]+([.][0-9]+)?|unlimited" : "[0-9 ]+|unlimited"} value=${form.amount} onInput=${change("amount")} />
        <//>
        <${Field} label="Ends"><select name="ends" value=${form.ends} onChange=${change("ends")}>${options(ENDS)}</select><//>
        <${Field} label="Reason" hint="Stands in the audit log"><input name="reason" required maxlength="300" value=${form.reason} onInput=${change("reason")} /><//>
        <p class="form-failure" role="alert">${failure}</p>
        <footer class="dialog-foot"><button type="button" class="button" onClick=${onClose}>Cancel</button><button class="button button-main">Put in force</button></footer>
      </form>
    <//>
  `;
}

export const options = (names) => Object.entries(names).map(([name, text]) => html`<option key=${name} value=${name}>${text}</option>`);

/** Money goes as the text that was typed; counts as integers. */
export function bodyOf({ resource, window, amount, ends, reason }) {
  const typed = amount.trim().replaceAll(" ", "");
  const value = typed === "unlimited" || resource === "cost_usd" ? typed : Number(typed);
  const limit = resource === "concurrent_requests" ? value : { [window]: value };
  const until = endOf(ends);
  return { [resource]: limit, reason, ...(until ? { until } : {}) };
}

function endOf(ends) {
  const today = localDate(Date.now(), zone());
  if (ends === "hour") return new Date(Date.now() + 3_600_000).toISOString();
  if (ends === "week") return new Date(Date.now() + 7 * 86_400_000).toISOString();
  if (ends === "midnight") return startOf(plusDays(today, 1));
  if (ends === "month") return startOf(plusDays(today.slice(0, 8) + "01", 32).slice(0, 8) + "01");
  return null;
}

/** The instant at which a date begins in the zone: found by looking, since zones have no formula. */
function startOf(date) {
  let at = Date.parse(date + "T00:00:00Z") - 15 * 3_600_000;
  for (const step of [3_600_000, 900_000]) {
    while (localDate(at + step, zone()) < date) at += step;
  }
  return new Date(at + 900_000).toISOString();
}
