// Models whose price is not known: said loudly, since their cost is missing everywhere; and pricing them again.

import { html, useState } from "../vendor/preact-htm.js";
import { send } from "../client/api.js";
import { refreshAll } from "../client/load.js";
import { href } from "../client/route.js";
import { count, plural } from "../words/numbers.js";
import { Usd } from "./amounts.js";
import { Dialog } from "./dialog.js";
import { attempt } from "./toasts.js";

export function Unpriced({ rows, period }) {
  const [trial, setTrial] = useState(null);
  if (!rows.length) return null;
  const look = () => attempt(async () => setTrial(await send("POST", "prices/reprice", undefined, { ...period, dry_run: true })));
  const price = async () => {
    const isDone = await attempt(() => send("POST", "prices/reprice", undefined, period), "Priced again by the table in force");
    setTrial(null);
    if (isDone) refreshAll();
  };
  return html`
    <div>
    <div class="note note-warn">
      <span><b>${plural(rows.length, "model")} without a price:</b> ${rows.map((row, index) => html`${index ? ", " : ""}<a href=${href("records", { model: row.model, ...period })}>${row.provider}/${row.model}</a> (${plural(row.unpriced, "call")})`)}. Their cost is unknown, not zero. Add a price to prices.yaml, then price again.</span>
      <button class="button" onClick=${look}>Price again…</button>
    </div>
    ${trial && html`
      <${Dialog} title="Price again" onClose=${() => setTrial(null)}>
        <p>${count(trial.examined)} records without a price were looked at. ${count(trial.changed)} would now be priced, at <${Usd} of=${trial.after_usd} />; ${count(trial.still_unknown)} stay unknown${trial.unknown_models.length ? `: ${trial.unknown_models.join(", ")}` : ""}.</p>
        <footer class="dialog-foot"><button class="button" onClick=${() => setTrial(null)}>Close</button><button class="button button-main" disabled=${!trial.changed} onClick=${price}>Price ${count(trial.changed)} records</button></footer>
      <//>
    `}
    </div>
  `;
}
