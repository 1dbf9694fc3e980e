// Rows of models put together: providers answer under a dated name (gpt-4o → gpt-4o-2024-08-06), and a call that got no answer
// stands under the name it asked for. For a true success rate such calls are counted with the model they were meant for. Pure.

const COUNTED = ["requests", "denied", "failed", "client_aborted", "ok", "unpriced"];
const isUnanswered = (row) => !row.ok;

/** Whether `dated` is `name` with a release date behind it. */
export const isReleaseOf = (dated, name) => Boolean(dated && name) && dated.startsWith(name + "-") && /^\d{4}-?\d{2}-?\d{2}$/.test(dated.slice(name.length + 1));

/** gpt-4o-2024-08-06 → gpt-4o. */
export const withoutDate = (name) => name.replace(/-\d{4}-?\d{2}-?\d{2}$/, "");

/** rows of usage/summary by provider and model → the same, unanswered calls with the one model they were meant for. */
export function withUnanswered(rows) {
  const homes = new Map();
  for (const row of rows.filter(isUnanswered)) {
    const found = rows.filter((one) => one.provider === row.provider && !isUnanswered(one) && isReleaseOf(one.model, row.model));
    if (found.length === 1) homes.set(row, found[0]);
  }
  return rows
    .filter((row) => !homes.has(row))
    .map((row) => {
      const guests = [...homes].filter(([, home]) => home === row).map(([guest]) => guest);
      const sums = Object.fromEntries(COUNTED.map((name) => [name, guests.reduce((sum, one) => sum + (one[name] ?? 0), row[name] ?? 0)]));
      return guests.length ? { ...row, ...sums, unanswered: guests.reduce((sum, one) => sum + one.requests, 0) } : row;
    });
}
