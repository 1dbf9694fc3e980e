// Find: one field that goes anywhere. Views, users, teams, models and keys by part of their name; a call by its id.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { go, href } from "../client/route.js";
import { seesAll } from "../client/session.js";
import { Icon } from "./icons.js";
import { viewsFor } from "./frame.js";

const MOST = 9;
const CALL_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Everything that can be gone to, by name: the views at once, the rest when the ledger has said what there is. */
async function places() {
  const summary = (group) => get("usage/summary", inZone({ range: "30d", group_by: group, limit: 1000 })).then((answer) => answer.groups.map((row) => row[group]).filter(Boolean));
  const [users, teams, models] = await Promise.all(seesAll() ? [summary("user"), summary("team"), summary("model")] : [[], [], summary("model")]);
  return [
    ...users.map((name) => ({ kind: "user", name, icon: "mine", to: href("user", {}, name) })),
    ...teams.map((name) => ({ kind: "team", name, icon: "users", to: href("users", { team: name }) })),
    ...models.map((name) => ({ kind: "model", name, icon: "models", to: href("explore", { model: name, group_by: seesAll() ? "user" : "operation", range: "30d" }) })),
  ];
}

const views = () => viewsFor(seesAll()).map(([view, name, icon]) => ({ kind: "view", name, icon, to: href(view) }));

/** Names that begin with what was typed first, then those that hold it. */
export function matching(all, typed) {
  const text = typed.trim().toLowerCase();
  if (CALL_ID.test(text)) return [{ kind: "call", name: text, icon: "records", to: href("record", {}, text) }];
  const rank = (one) => (one.name.toLowerCase().startsWith(text) ? 0 : one.name.toLowerCase().includes(text) ? 1 : 2);
  return all.map((one) => [rank(one), one]).filter(([place]) => place < 2).sort((a, b) => a[0] - b[0]).slice(0, MOST).map(([, one]) => one);
}

export function Finder({ onClose }) {
  const element = useRef(null);
  const [all, setAll] = useState(views());
  const [typed, type] = useState("");
  const [chosen, choose] = useState(0);
  const found = matching(all, typed);
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    places().then((more) => setAll([...views(), ...more]), () => undefined); // the views can be gone to in any case
    return () => before?.focus?.();
  }, []);
  const open = (one) => {
    onClose();
    if (one) go(one.to);
  };
  const press = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") open(found[chosen]);
    else if (step) choose((chosen + step + found.length) % (found.length || 1));
    else return;
    event.preventDefault();
  };
  return html`
    <dialog ref=${element} class="dialog finder" aria-label="Find" onClose=${onClose} onMouseDown=${(event) => event.target === element.current && onClose()}>
      <label class="finder-field"><${Icon} name="search" /><span class="unseen">Go to</span>
        <input name="find" role="combobox" aria-expanded="true" aria-controls="finder-list" aria-activedescendant=${found.length ? `found-${chosen}` : undefined} autocomplete="off" spellcheck="false" autofocus
          placeholder="View, user, team, model, or a call’s id" value=${typed} onInput=${(event) => (type(event.target.value), choose(0))} onKeyDown=${press} /></label>
      <ul id="finder-list" class="finder-list" role="listbox" aria-label="Places">
        ${found.map((one, index) => html`<li key=${one.kind + one.name} id=${`found-${index}`} role="option" aria-selected=${String(index === chosen)} onMouseMove=${() => choose(index)} onClick=${() => open(one)}>
          <${Icon} name=${one.icon} /><span class="finder-name">${one.name}</span><span class="small muted">${one.kind}</span></li>`)}
      </ul>
      ${!found.length && html`<p class="muted finder-none">Nothing of that name was used in the last 30 days.</p>`}
    </dialog>
  `;
}
