"""The small fields of a multipart form (RFC 7578), read from the first 64 KiB of the body: enough for the model's name.

Rules of this file: a part that is not complete in what is there is not reported; files are passed over; of a name given twice the
last counts, as most form readers do. Nothing raises.
"""

from __future__ import annotations

import re

MAX_FORM_BYTES = 65_536
MAX_FIELD_BYTES = 4096

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[^\r\n]*?[;\s]name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)
_FILE = re.compile(rb"content-disposition:[^\r\n]*?[;\s]filename\*?=", re.IGNORECASE)


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """Text fields by name."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return {}
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    parts = (b"\r\n" + body[:MAX_FORM_BYTES]).split(delimiter)
    fields: dict[str, str] = {}
    for part in parts[1:-1]:  # before the first delimiter stands a preamble, after the last what is not complete (or the end mark)
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if blank and name is not None and len(value) <= MAX_FIELD_BYTES and not _FILE.search(head):
            fields[(name[1] or name[2] or b"").decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return fields
