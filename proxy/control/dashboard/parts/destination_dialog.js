// A new channel for alerts.

import { html, useState } from "../vendor/preact-htm.js";
import { refreshAll } from "../client/load.js";
import { Dialog } from "./dialog.js";
import { Field } from "./fields.js";
import { options } from "./override_dialog.js";
import { tell } from "./toasts.js";

const CHANNELS = { webhook: "Webhook, signed", slack: "Slack, or what takes its messages", email: "Email", apprise: "Another, through apprise" };
const SEVERITIES = { info: "everything", warning: "warnings and worse", critical: "critical only" };

export function DestinationDialog({ taken, save, onClose }) {
  const [form, set] = useState({ channel: "webhook", name: "", min_severity: "warning", url: "", secret: "", smtp_url: "", sender: "", recipients: "" });
  const [failure, setFailure] = useState(null);
  const change = (name) => (event) => set({ ...form, [name]: event.target.value });
  const input = (name, label, hint, more = {}) => html`<${Field} label=${label} hint=${hint}><input name=${name} required value=${form[name]} onInput=${change(name)} ...${more} /><//>`;
  const submit = async (event) => {
    event.preventDefault();
    if (taken.includes(form.name.trim())) return setFailure("There is a channel of that name already.");
    try {
      await save(documentOf(form));
      tell(`Alerts are now also sent to ${form.name}`);
      onClose();
      refreshAll();
    } catch (reason) {
      setFailure(reason.message);
    }
    return undefined;
  };
  return html`
    <${Dialog} title="Add a channel" onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        <div class="form-row">
          <${Field} label="Channel"><select name="channel" value=${form.channel} onChange=${change("channel")}>${options(CHANNELS)}</select><//>
          ${input("name", "Name", "Yours, to tell it apart")}
        </div>
        ${form.channel === "email"
          ? html`${input("smtp_url", "SMTP server", "smtp+starttls://user:password@host:587, or smtps://…")}${input("sender", "From", "", { type: "email" })}${input("recipients", "To", "Addresses, separated by commas")}`
          : input("url", "Address", form.channel === "apprise" ? "ntfy://…, tgram://…, msteams://…; needs the extra apprise" : "https://…", { type: "url" })}
        ${form.channel === "webhook" && input("secret", "Secret", "Signs each message (HMAC-SHA256); not shown again", { type: "password", required: false, autocomplete: "off" })}
        <${Field} label="Sends"><select name="min_severity" value=${form.min_severity} onChange=${change("min_severity")}>${options(SEVERITIES)}</select><//>
        <p class="form-failure" role="alert">${failure}</p>
        <footer class="dialog-foot"><button type="button" class="button" onClick=${onClose}>Cancel</button><button class="button button-main">Add</button></footer>
      </form>
    <//>
  `;
}

export function documentOf({ channel, name, min_severity, url, secret, smtp_url, sender, recipients }) {
  const shared = { channel, name: name.trim(), min_severity };
  if (channel === "email") return { ...shared, smtp_url, sender, recipients: recipients.split(/[\s,;]+/).filter(Boolean) };
  return channel === "webhook" ? { ...shared, url, secret } : { ...shared, url };
}
