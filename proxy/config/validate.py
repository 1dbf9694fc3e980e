"""A document against its schema: the plain, canonical form of what is right, and findings in the operator's words."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Tag, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.mistakes import Finding, Path, kind_of, looks_secret, path_text, shown, suggestion
from proxy.config.schema import Closed


def validate(schema: type[Closed], value: object) -> tuple[dict[str, Any], list[Finding]]:
    """Check a document.

    Returns:
        Its canonical form, JSON values only (money as decimal text, times in seconds, sizes in bytes, patterns in lower
        case) without what was left out; and what is wrong with it, in which case the first part is empty.
    """
    value = {} if value is None else value
    try:
        document = schema.model_validate(value)
    except ValidationError as error:
        findings = [_finding(schema, value, one) for one in error.errors(include_url=False, include_context=True)]
        return {}, findings
    return document.model_dump(mode="json", by_alias=True, exclude_unset=True), []


def _finding(schema: type[Closed], value: object, error: ErrorDetails) -> Finding:
    kind = error["type"]
    path, is_about_key = _real_path(value, error["loc"])
    if kind == "extra_forbidden":
        return Finding(path, _unknown(schema, value, error["loc"], path), is_about_key=True)
    subject = f"{path_text(path)}: " if path else ""
    if kind == "missing":
        parent = path_text(path[:-1])
        return Finding(path, f"`{path[-1]}` is missing{' in ' + parent if parent else ''}; {_MISSING.get(str(path[-1]), 'add it')}")
    return Finding(path, subject + _explain(error), is_about_key)


_MISSING = {
    "key_sha256": 'add `key_sha256: "…"`, which `printf %s "$KEY" | sha256sum` prints',
    "providers": "list at least one, e.g. `openai:`",
    "max": "write `max: 20`, or the number alone",
}


def _real_path(value: object, loc: tuple[str | int, ...]) -> tuple[Path, bool]:
    """The parts of a validator's path that stand in the document; whether it is a mapping's name that is wrong."""
    kept: list[str | int] = []
    is_about_key = False
    for index, part in enumerate(loc):
        is_last = index == len(loc) - 1
        if part == "[key]" and is_last:
            is_about_key = True
        elif _has(value, part):
            value = value[part]  # type: ignore[index]
            kept.append(part)
        elif is_last and isinstance(value, dict):
            kept.append(part)
    return tuple(kept), is_about_key


def _has(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _unknown(schema: type[Closed], value: object, loc: tuple[str | int, ...], path: Path) -> str:
    name, where = str(path[-1]), path_text(path[:-1])
    known = next(_names_at(schema, tuple(loc[:-1])), [])
    text = f"unknown setting `{shown(name)}`{' in ' + where if where else ''}; "
    if name in ("mode", "on_store_failure"):
        return text + f"it stands at the top of the file or beside a limit: `tokens: {{per_day: 1_000, {name}: …}}`"
    if name == "key" and "key_sha256" in known:
        return text + 'keys stand here by their hash only: `key_sha256: "…"`, which `printf %s "$KEY" | sha256sum` prints'
    return text + suggestion(name, known)


def _names_at(annotation: Any, loc: tuple[str | int, ...]) -> Iterator[list[str]]:
    """The names a mapping at `loc` may have, found by walking the schema the way the validator did."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        tag = next((mark.tag for mark in marks if isinstance(mark, Tag)), None)
        if tag is not None and loc and loc[0] == tag:
            yield from _names_at(inner, loc[1:])
        elif tag is None:
            yield from _names_at(inner, loc)
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _names_at(one, loc)
    elif origin is dict and loc:
        yield from _names_at(get_args(annotation)[1], loc[1:])
    elif origin is list and loc:
        yield from _names_at(get_args(annotation)[0], loc[1:])
    elif isinstance(annotation, type) and issubclass(annotation, Closed):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        if not loc:
            yield list(fields)
        elif loc[0] in fields:
            field = fields[str(loc[0])]
            tag_marks = [mark for mark in field.metadata if isinstance(mark, Tag)]
            yield from _names_at(Annotated[(field.annotation, *tag_marks)] if tag_marks else field.annotation, loc[1:])


def _explain(error: ErrorDetails) -> str:
    """What is wrong; what to write instead."""
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "weighbridge":
        return error["msg"]
    if kind == "literal_error":
        return _explain_choice(given, context.get("expected", ""))
    if kind == "string_type":
        return f"must be text, not {kind_of(given)}; " + (
            "write something, or take the line out" if given is None else "put it in quotes"
        )
    if kind in ("dict_type", "model_type", "model_attributes_type", "mapping_type"):
        return f"must be a mapping, not {kind_of(given)}; write `name: value` lines below it, or {{name: value}}"
    if kind == "list_type":
        return f"must be a list, not {kind_of(given)}; write [a, b] or lines that begin with `- `"
    if kind in ("int_type", "int_parsing", "int_from_float"):
        return f"must be a whole number, not {kind_of(given)}; write e.g. 100"
    if kind in ("greater_than_equal", "less_than_equal"):
        bounds = {"greater_than_equal": ("smaller than", "ge"), "less_than_equal": ("larger than", "le")}[kind]
        return f"is {bounds[0]} {context[bounds[1]]}; write {context[bounds[1]]} or {'more' if bounds[1] == 'ge' else 'less'}"
    if kind in ("string_too_short", "too_short"):
        return "is empty; write something, or take it out"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(context.get("pattern")), "has characters that cannot stand here; write plain text")
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}; correct it"


_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$": "is no provider's name; write letters, digits, `.`, `_`, `-`: it is part of the path",
    r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$": "is no header name; write e.g. OpenAI-Organization",
    r"^[\t\x20-\x7e\x80-\xff]*$": "has characters that a header cannot carry; write it on one line, in Latin letters",
}


def _explain_choice(given: object, expected: str) -> str:
    known = [part.strip("'") for part in expected.replace(" or ", ", ").split(", ")]
    if isinstance(given, str) and not looks_secret(given):
        return f"`{shown(given)}` is not known here; {suggestion(given, known)}"
    return f"{kind_of(given)} cannot stand here; write one of: {', '.join(known)}"
