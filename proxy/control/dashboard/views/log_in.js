// The door: a key (an admin's, or a user's own), a name and password, or another house's sign-in; whatever this one offers.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { beginSession, get, identify } from "../client/api.js";
import { attempt, logIn, rememberSignIn } from "../client/session.js";
import { Segments } from "../parts/fields.js";

const ONLY_KEYS = { password: false, oidc: null };

export function LogIn({ failure }) {
  const [offered, setOffered] = useState(ONLY_KEYS);
  const [way, setWay] = useState("key");
  const wentWrong = new URLSearchParams(location.search).get("sign_in");
  useEffect(() => {
    get("session/options").then(
      (options) => setOffered(options),
      () => setOffered(ONLY_KEYS), // keys open the door in any case
    );
  }, []);
  return html`
    <main class="log-in">
      <div class="log-in-box">
        <img src="/dashboard/icon.svg" alt="" width="44" height="44" />
        <h1>Weighbridge</h1>
        <p class="muted">What your LLM calls weigh, cost and may.</p>
        ${offered.password && html`<${Segments} label="Log in by" value=${way} options=${{ key: "Key", password: "Name and password" }} onChange=${setWay} />`}
        ${way === "key" ? html`<${ByKey} failure=${failure} />` : html`<${ByPassword} />`}
        ${wentWrong && html`<p class="form-failure" role="alert">The sign-in did not succeed: ${wentWrong.replaceAll("_", " ")}.</p>`}
        ${offered.oidc && html`<a class="button" href=${offered.oidc.url} onClick=${rememberSignIn}>Sign in with ${offered.oidc.name}</a>`}
      </div>
    </main>
  `;
}

function ByKey({ failure }) {
  const [candidate, set] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    await logIn(candidate, identify);
    setBusy(false);
  };
  const told = failure && (failure.status === 401 ? "This key is not known here, or has expired." : failure.message);
  return html`
    <form class="form" onSubmit=${submit}>
      <label class="field field-tall"><span class="field-label">Key</span>
        <input type="password" name="key" autocomplete="current-password" spellcheck="false" autofocus required placeholder="wb-…" value=${candidate}
          aria-invalid=${failure ? "true" : undefined} aria-describedby="log-in-told" onInput=${(event) => set(event.target.value)} />
      </label>
      <p id="log-in-told" class="form-failure" role="alert">${told}</p>
      <button class="button button-main" disabled=${isBusy}>${isBusy ? "Looking…" : "Log in"}</button>
      <p class="muted small">The admin key was shown at the first start. With your own key you see your own usage. It stays in this tab until you close it.</p>
    </form>
  `;
}

function ByPassword() {
  const [form, set] = useState({ name: "", password: "" });
  const [told, tell] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    tell("");
    try {
      await beginSession(form.name.trim(), form.password);
      rememberSignIn();
      await attempt(identify);
    } catch (failure) {
      tell(failure.message);
    }
  };
  const input = (name, label, type, autocomplete) => html`<label class="field field-tall"><span class="field-label">${label}</span>
    <input type=${type} name=${name} autocomplete=${autocomplete} required value=${form[name]} onInput=${(event) => set({ ...form, [name]: event.target.value })} /></label>`;
  return html`
    <form class="form" onSubmit=${submit}>
      ${input("name", "Name", "text", "username")}${input("password", "Password", "password", "current-password")}
      <p class="form-failure" role="alert">${told}</p>
      <button class="button button-main">Log in</button>
    </form>
  `;
}
