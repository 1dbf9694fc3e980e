// Tables and charts as CSV files, made in the browser from what is on the screen.

const FORMULA = /^[=+\-@\t\r]/;

/** rows: arrays of cells. Text that a spreadsheet would run as a formula is disarmed; plain numbers stay numbers. */
export function csvText(head, rows) {
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

export function saveCsv(name, head, rows) {
  save(`${name}.csv`, new Blob([csvText(head, rows)], { type: "text/csv;charset=utf-8" }));
}

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function cell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (FORMULA.test(text) && !/^-?\d+(\.\d+)?$/.test(text)) text = "'" + text;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
