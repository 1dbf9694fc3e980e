// JSON values written as YAML, the way people write limits.yaml: small mappings in one line, the rest indented. For reading only.

const INLINE = 72;
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_./-]*$/;
const DECIMAL = /^\d{1,15}(\.\d+)?$/;
const WORDS = /^(true|false|null|yes|no|on|off|~|[-+.\d][\d_.eE+-]*)$/i;

export function yamlText(value) {
  return lines(value, 0).join("\n") + "\n";
}

function lines(value, depth) {
  const pad = "  ".repeat(depth);
  if (!isNested(value)) return [pad + scalar(value)];
  if (Array.isArray(value) && value.some(isNested)) return value.map((one) => `${pad}- ${inline(one)}`);
  return Object.entries(value).flatMap(([name, one]) => {
    const head = `${pad}${scalar(name)}:`;
    const short = `${head} ${inline(one)}`;
    const isShort = (depth > 0 || Array.isArray(one)) && short.length <= INLINE && !hasNested(one);
    return !isNested(one) || isShort ? [short] : [head, ...lines(one, depth + 1)];
  });
}

const hasNested = (value) => Array.isArray(value) && value.some(isNested);
const isNested = (value) => value !== null && typeof value === "object" && Object.keys(value).length > 0;

function inline(value) {
  if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
  if (value !== null && typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${scalar(name)}: ${inline(one)}`).join(", ")}}`;
  return scalar(value);
}

function scalar(value) {
  if (typeof value === "number") return String(value).replace(/^\d{5,}$/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, "_"));
  if (typeof value !== "string") return String(value);
  return DECIMAL.test(value) || (PLAIN.test(value) && !WORDS.test(value)) ? value : JSON.stringify(value);
}
