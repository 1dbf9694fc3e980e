// The filters in force, as chips that can be taken away, and a way to add one. They live in the URL.

import { html, useState } from "../vendor/preact-htm.js";
import { setQuery } from "../client/route.js";
import { seesAll } from "../client/session.js";
import { Icon } from "./icons.js";
import { Select } from "./fields.js";

export const FILTERS = {
  user: "User",
  team: "Team",
  key: "Key id",
  provider: "Provider",
  model: "Model",
  operation: "Operation",
  session: "Session",
  outcome: "Outcome",
  request_id: "Request id",
};
const OUTCOMES = ["ok", "denied", "upstream_error", "upstream_aborted", "client_aborted", "proxy_error"];

/** The filters of a query, fit for the API. */
export const filtersOf = (query) => Object.fromEntries(Object.keys(FILTERS).filter((name) => query[name]).map((name) => [name, query[name]]));

export function FilterBar({ query, suggestions = {} }) {
  const names = Object.fromEntries(Object.entries(FILTERS).filter(([name]) => seesAll() || !["user", "team"].includes(name)));
  const [name, setName] = useState(Object.keys(names)[0]);
  const [value, setValue] = useState("");
  const add = (event) => {
    event.preventDefault();
    if (value.trim()) setQuery({ [name]: value.trim() });
    setValue("");
  };
  const choices = name === "outcome" ? OUTCOMES : (suggestions[name] ?? []);
  return html`
    <form class="filters" aria-label="Filters" onSubmit=${add}>
      ${Object.entries(filtersOf(query)).map(
        ([one, held]) => html`<span class="chip" key=${one}><span title=${`${FILTERS[one]}: ${held}`}>${FILTERS[one]}: <b>${held}</b></span>
          <button type="button" class="icon-button" aria-label=${`Remove filter ${FILTERS[one]} ${held}`} onClick=${() => setQuery({ [one]: null })}><${Icon} name="close" /></button></span>`,
      )}
      <${Select} label="Filter by" hideLabel value=${name} options=${names} onChange=${setName} />
      <input data-search aria-label=${`${FILTERS[name]} to filter by`} placeholder=${`${FILTERS[name].toLowerCase()}…`} list="filter-choices" value=${value} onInput=${(event) => setValue(event.target.value)} />
      <datalist id="filter-choices">${choices.map((choice) => html`<option key=${choice} value=${choice} />`)}</datalist>
      <button class="button" disabled=${!value.trim()}>Filter</button>
    </form>
  `;
}
