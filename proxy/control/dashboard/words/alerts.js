// Alerts in the words of a person: what the engine found, from its facts, with amounts as they are shown everywhere else.

import { exactUsd, parseUsd, shortUsd } from "./money.js";
import { count } from "./numbers.js";

const WINDOWS = { minute: "this minute", hour: "this hour", day: "today", month: "this month", total: "in all" };
const RESOURCES = { tokens: "tokens", input_tokens: "input tokens", output_tokens: "output tokens", cost_usd: "", requests: "calls", concurrent_requests: "calls at once" };

/** {title, text, exact}: a limit that fills is told from its facts; all others as the engine told them. */
export function wordsOf(alert) {
  const { facts } = alert;
  if (!facts?.limit || facts.used === undefined) return { title: alert.title, text: alert.text, exact: alert.text };
  const isMoney = facts.resource === "cost_usd";
  const short = (amount) => (isMoney ? shortUsd(parseUsd(amount)) : count(Number(amount)));
  const exact = (amount) => (isMoney ? exactUsd(parseUsd(amount)) : count(Number(amount)));
  const share = Math.floor((Number(facts.used) / (Number(facts.amount) || 1)) * 100);
  const whose = alert.user ?? (alert.team ? `team ${alert.team}` : "everyone together");
  const amount = `${short(facts.amount)} ${RESOURCES[facts.resource] ?? facts.resource}`.trim();
  return {
    title: share >= 100 ? `${capital(whose)} reached the limit of ${amount} ${WINDOWS[facts.window] ?? ""}`.trim() : `${capital(whose)} used ${share}\u202f% of ${amount} ${WINDOWS[facts.window] ?? ""}`.trim(),
    text: `${short(facts.used)} used when this was raised, limit ${facts.limit}`,
    exact: `${exact(facts.used)} of ${exact(facts.amount)}, limit ${facts.limit}. ${alert.text}`,
  };
}

const capital = (text) => (text.startsWith("team ") || text.startsWith("everyone") ? text[0].toUpperCase() + text.slice(1) : text);
