// Overview: where things stand now, how they got there, where the month will end, and what wants a look.

import { html } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { go, href, periodOf, setQuery } from "../client/route.js";
import { GROUPS } from "../words/metrics.js";
import { usualInterval } from "../words/intervals.js";
import { RangePicker, Segments, Select } from "../parts/fields.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { SeriesCsv, UsageChart, useSeries } from "../parts/usage_chart.js";
import { LiveFeed } from "../parts/live_feed.js";
import { MonthForecast } from "../parts/month_forecast.js";
import { Attention, NearLimits, TopTable } from "../parts/overview_lists.js";
import { Tiles } from "../parts/tiles.js";

const CHART_GROUPS = { model: "Model", provider: "Provider", team: "Team", user: "User", operation: "Operation" };
const CHART_METRICS = { cost_usd: "Cost", total_tokens: "Tokens", requests: "Calls" };

export function View({ query }) {
  const period = query.range || query.from || query.to ? periodOf(query) : { range: "30d" };
  const group = query.group_by in CHART_GROUPS ? query.group_by : "model";
  const metric = query.metric in CHART_METRICS ? query.metric : "cost_usd";
  const stats = useLoad((signal) => get("stats", inZone(period), signal), [JSON.stringify(period)], { every: 120 });
  const series = useSeries({ query: period, interval: usualInterval(period), group, metric }, { every: 120 });
  const only = (one) => go(href("explore", { ...period, metric, [group]: one.group, group_by: group === "model" ? "user" : "model" }));
  const controls = html`
    <${Segments} label="Shown" value=${metric} options=${CHART_METRICS} onChange=${(name) => setQuery({ metric: name })} />
    <${Select} label="By" value=${group} options=${CHART_GROUPS} onChange=${(name) => setQuery({ group_by: name })} />
    <${SeriesCsv} of=${series} metric=${metric} name=${`${metric}-by-${group}`} />
  `;
  return html`
    <div class="view">
    <${ViewHead} title="Overview"><${RangePicker} query=${query} /><//>
    <${Attention} stats=${stats} />
    <${Tiles} />
    <div class="grid grid-stretch">
      <div class="span-8">
        <${Panel} title=${`${CHART_METRICS[metric]} by ${GROUPS[group].toLowerCase()}`} explain="Press a column to see its records, a name to see it alone" actions=${controls}>
          <${UsageChart} of=${series} group=${group} metric=${metric} onOnly=${only} height=${290} />
        <//>
      </div>
      <div class="span-4"><${MonthForecast} metric=${metric} height=${300} /></div>
    </div>
    <div class="grid grid-stretch">
      <div class="span-4"><${NearLimits} stats=${stats} /></div>
      <div class="span-4"><${TopTable} stats=${stats} of="user" title="Top users" period=${period} /></div>
      <div class="span-4"><${TopTable} stats=${stats} of="model" title="Top models" period=${period} /></div>
    </div>
    <${LiveFeed} />
    </div>
  `;
}
