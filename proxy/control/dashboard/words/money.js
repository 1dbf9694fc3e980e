// US dollars as decimal text, added and shown without ever becoming binary floating point.
// Inside, an amount is a BigInt of 10⁻¹⁸ dollars; null means unknown and is never taken for zero.

const PLACES = 18;
const UNIT = 10n ** BigInt(PLACES);
const THIN = "\u202f";

/** Decimal text → BigInt units; null for null. */
export function parseUsd(text) {
  if (text === null || text === undefined) return null;
  const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(String(text)) ?? [];
  if (whole === undefined) return null;
  const units = BigInt(whole) * UNIT + BigInt((part + "0".repeat(PLACES)).slice(0, PLACES));
  return sign ? -units : units;
}

/** Units → exact decimal text without trailing zeros. */
export function exactUsd(units) {
  if (units === null) return "unknown";
  const size = units < 0n ? -units : units;
  const part = String(size % UNIT).padStart(PLACES, "0").replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}$${groupDigits(String(size / UNIT))}${part ? "." + part : ""}`;
}

/** Units → what is read at a glance: cents, or two significant digits of less than a cent. */
export function shortUsd(units, places = null) {
  if (units === null) return "–";
  const size = units < 0n ? -units : units;
  const shown = rounded(size, places ?? usualPlaces(size));
  return `${units < 0n ? "−" : ""}$${shown}`;
}

/** For axes: $1.2k, $340, $0.05. */
export function compactUsd(amount) {
  const size = Math.abs(amount);
  if (size >= 1e6) return `$${trim(amount / 1e6)}M`;
  if (size >= 1e4) return `$${trim(amount / 1e3)}k`;
  if (size >= 1 || size === 0) return `$${trim(amount)}`;
  return `$${Number(amount.toPrecision(2))}`;
}

/** Only for heights of bars and ratios; never shown. */
export const approximate = (units) => (units === null ? 0 : Number(units) / Number(UNIT));

export const groupDigits = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, THIN);

function usualPlaces(size) {
  if (size === 0n) return 0;
  if (size >= 1000n * UNIT) return 0;
  if (size >= UNIT) return 2;
  if (size * 100n >= UNIT) return 3;
  const leading = String(size).length;
  return Math.min(PLACES, PLACES - leading + 2);
}

function rounded(size, places) {
  const step = 10n ** BigInt(PLACES - places);
  const steps = (size + step / 2n) / step;
  const digits = String(steps).padStart(places + 1, "0");
  const whole = groupDigits(digits.slice(0, digits.length - places));
  return places ? `${whole}.${digits.slice(-places)}` : whole;
}

const trim = (amount) => String(Number(amount.toFixed(1)));
