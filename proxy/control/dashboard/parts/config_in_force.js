// The configuration in force, and why a newer one is not.

import { html } from "../vendor/preact-htm.js";
import { get } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { yamlText } from "../words/yaml.js";
import { Panel } from "./panel.js";
import { Loaded } from "./states.js";

async function load(signal, isOffered) {
  const { health } = await get("stats", { range: "today" }, signal);
  const config = isOffered ? await get("config", {}, signal) : null;
  const files = Object.entries(config?.documents ?? {}).map(([name, document]) => ({ name: `${name}.yaml`, text: yamlText(document) }));
  return { version: health.rules_version, mistakes: health.config_mistakes, files, disabled: health.disabled_providers };
}

export function ConfigInForce({ isOffered, isOpen }) {
  const found = useLoad((signal) => load(signal, isOffered), [isOffered], { every: 15 });
  return html`
    <${Panel} title="Configuration in force" explain="Saved changes take effect within a second; a broken file is refused and the last good one stays">
      <${Loaded} of=${found} rows=${3}>
        ${(data) => html`
          <div class="stack">
            ${data.mistakes.length > 0
              ? html`<div class="note note-bad"><b>The files as they are now were refused; the last good ones stay in force.</b><ul class="mistakes">${data.mistakes.map((mistake) => html`<li key=${mistake}>${mistake}</li>`)}</ul></div>`
              : html`<p class="muted">The files are in force as saved. Version <code>${data.version}</code>.</p>`}
            ${Object.entries(data.disabled ?? {}).map(([name, why]) => html`<p class="note note-warn" key=${name}><b>Provider ${name} is off:</b> ${why}</p>`)}
            <div class="files">${data.files.map((file) => html`<details key=${file.name} open=${file.name === "limits.yaml" && isOpen}><summary>${file.name}</summary><pre class="code" tabindex="0" aria-label=${file.name}>${file.text}</pre></details>`)}</div>
          </div>
        `}
      <//>
    <//>
  `;
}
