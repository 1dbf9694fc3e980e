// The door: an admin's key, or a user's own.

import { html, useState } from "../vendor/preact-htm.js";
import { identify } from "../client/api.js";
import { logIn } from "../client/session.js";

export function LogIn({ failure }) {
  const [candidate, set] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    if (!candidate.trim()) return;
    setBusy(true);
    await logIn(candidate, identify);
    setBusy(false);
  };
  const told = failure && (failure.status === 401 ? "This key is not known here, or has expired." : failure.message);
  return html`
    <main class="log-in">
      <form class="log-in-box" onSubmit=${submit}>
        <img src="/dashboard/icon.svg" alt="" width="44" height="44" />
        <h1>Weighbridge</h1>
        <p class="muted">What your LLM calls weigh, cost and may.</p>
        <label class="field field-tall"><span class="field-label">Key</span>
          <input type="password" name="key" autocomplete="current-password" spellcheck="false" autofocus placeholder="wb-…" value=${candidate}
            aria-invalid=${failure ? "true" : undefined} aria-describedby="log-in-told" onInput=${(event) => set(event.target.value)} />
        </label>
        <p id="log-in-told" class="form-failure" role="alert">${told}</p>
        <button class="button button-main" disabled=${isBusy || !candidate.trim()}>${isBusy ? "Looking…" : "Log in"}</button>
        <p class="muted small">The admin key was shown at the first start. With your own key you see your own usage. It stays in this tab until you close it.</p>
      </form>
    </main>
  `;
}
