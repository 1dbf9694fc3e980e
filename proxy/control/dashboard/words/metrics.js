// What can be measured of usage: how it is called, explained, read from a row and shown.

import { approximate, compactUsd, exactUsd, parseUsd, shortUsd } from "./money.js";
import { compact, compactAxis, count } from "./numbers.js";

const tokens = (label, explain) => ({ label, explain, unit: "tokens", isMoney: false });
const calls = (label, explain) => ({ label, explain, unit: "calls", isMoney: false });

export const METRICS = {
  cost_usd: { label: "Cost", explain: "US dollars by the price table in force; calls without a known price are not in it", unit: "USD", isMoney: true },
  total_tokens: tokens("Tokens", "All tokens: input and output, cached and reasoning ones included"),
  input_tokens: tokens("Input tokens", "All input, cache reads and writes included"),
  output_tokens: tokens("Output tokens", "All output, reasoning included"),
  cache_read_tokens: tokens("Cache reads", "Input tokens that the provider took from its cache, at a lower price"),
  reasoning_tokens: tokens("Reasoning", "Output tokens spent on thinking, part of the output"),
  requests: calls("Calls", "Every answered request, refused and failed ones included"),
  denied: calls("Refused", "Calls that a limit, a stop or a missing right refused before they reached the provider"),
  failed: calls("Failed", "Calls that the provider or the way to it failed"),
};

export const GROUPS = {
  model: "Model",
  provider: "Provider",
  team: "Team",
  user: "User",
  operation: "Operation",
  key: "Key",
  api: "API",
  outcome: "Outcome",
  session: "Session",
};

/** The raw amount of a row: BigInt units for money, a number for all else. */
export const amountOf = (row, metric) => (METRICS[metric].isMoney ? (parseUsd(row[metric]) ?? 0n) : (row[metric] ?? 0));
export const zeroOf = (metric) => (METRICS[metric].isMoney ? 0n : 0);
export const heightOf = (amount) => (typeof amount === "bigint" ? approximate(amount) : amount);
export const shortOf = (amount) => (typeof amount === "bigint" ? shortUsd(amount) : amount >= 100_000 ? compact(amount) : count(amount));
export const exactOf = (amount) => (typeof amount === "bigint" ? exactUsd(amount) : count(amount));
export const plainOf = (amount) => (typeof amount === "bigint" ? exactUsd(amount).replace(/[$\u202f]/g, "") : String(amount));
export const axisOf = (metric) => (METRICS[metric].isMoney ? compactUsd : compactAxis);
export const groupName = (value) => (value === null || value === undefined || value === "" ? "(none)" : String(value));
