"""YAML text to plain values: what the scalars mean, what is refused, and where things stand.

Rules of this file: the YAML 1.2 core schema (`on`, `yes`, `off` are text), plus `10_000`; numbers with a fraction become
Decimal from their text, never a float; names are always text; duplicate names, tags and a second document are refused.

Built on libyaml's events and not on its nodes: that is 4 times faster, keeps every position, and a document of ten
thousand brackets is a mistake here where libyaml's own composer overflows the C stack.
Measured: 10,000 keys (1.4 MB) in 0.2 s; ruamel.yaml needs 29 times as long as libyaml.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import yaml

from proxy.config.mistakes import Finding, Mistake, shown

MAX_DEPTH = 60
MAX_VALUES = 3_000_000
"""Values after anchors are expanded: stops documents that are small to write and endless to read."""

_CONSTANTS: dict[str, object] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,40}\Z")
_FRACTION = re.compile(r"[-+]?(?:[0-9][0-9_]{0,40}(?:\.[0-9_]{0,40})?|\.[0-9][0-9_]{0,40})(?:[eE][-+]?[0-9]{1,3})?\Z")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What libyaml counts lines by."""
_NUMBER_STARTS = frozenset("0123456789+-.")
_TEXT_TAG = "tag:yaml.org,2002:str"

try:
    _Loader: Any = yaml.CSafeLoader
except AttributeError:  # pragma: no cover - a build of PyYAML without libyaml: slower, the same answers
    _Loader = yaml.SafeLoader


class YamlMistakes(Exception):
    """The text is not a document: all that was found before reading had to stop."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__()
        self.mistakes = mistakes


def scalar(text: str) -> object:
    """The value of an unquoted scalar."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _NUMBER_STARTS:
        if _INTEGER.match(text):
            return int(text.replace("_", ""))
        if _FRACTION.match(text):
            return Decimal(text.replace("_", ""))
    return text


def read_yaml(text: str, file: str) -> object:
    """The document's value: dict, list, str, int, Decimal, bool or None.

    Raises:
        YamlMistakes: syntax errors, duplicate names, tags, a second document.
    """
    reading = _Reading(file)
    loader = _Loader(text) if text.isprintable() or _is_readable(text, file) else None
    try:
        while loader is not None and not reading.is_over and loader.check_event():
            reading.take(loader.get_event())
    except yaml.MarkedYAMLError as error:
        reading.mistakes.append(_syntax_mistake(error, file, text))
    finally:
        if loader is not None:
            loader.dispose()
    if reading.mistakes:
        raise YamlMistakes(reading.mistakes)
    return reading.value


_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _is_readable(text: str, file: str) -> bool:
    """YAML allows no control characters; libyaml tells only a byte offset of one, so they are looked for here."""
    found = _UNREADABLE.search(text)
    if found is None:
        return True
    before = text[: found.start()]
    line = before.count("\n") + 1
    column = found.start() - (before.rfind("\n") + 1) + 1
    raise YamlMistakes([Mistake(file, line, column, f"the character U+{ord(found.group()):04X} cannot stand in YAML; take it out")])


def _syntax_mistake(error: yaml.MarkedYAMLError, file: str, text: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    problem = error.problem or "this is not YAML"
    lines = _LINE_BREAK.split(text)
    here = lines[line] if line < len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())] or here[column : column + 1] == "\t":
        advice = "a tab cannot indent; write spaces"
        column = here.index("\t")
    elif "mapping values are not allowed" in problem:
        advice = "a second `:` on this line, or the indent does not fit; put text that holds `: ` in quotes"
    elif "could not find expected ':'" in problem:
        advice = "a name without `:`; write `name: value`"
    elif "undefined alias" in problem:
        advice = "an anchor of that name is not defined above; put text that begins with `*` in quotes"
    elif "cannot start any token" in problem:
        advice = "this character cannot begin a value; put the text in quotes"
    elif "expected <block end>" in problem or "did not find expected key" in problem:
        advice = "the indent does not fit the lines above, or a quote or bracket is not closed"
    elif "expected ',' or" in problem or "did not find expected node content" in problem:
        advice = "a `,`, a `}` or a `]` is missing"
    else:
        advice = "correct the line, or put the text in quotes"
    return Mistake(file, line + 1, column + 1, f"not YAML: {problem.split(', but')[0]}; {advice}")


class _Open:
    """A mapping or list that is not finished yet."""

    __slots__ = ("anchor", "count", "is_merge", "items", "key", "merged")

    def __init__(self, items: dict[str, object] | list[object], anchor: str | None) -> None:
        self.items = items
        self.anchor = anchor
        self.key: str | None = None
        self.count = 1
        self.is_merge = False
        """The name just read is an unquoted `<<`."""
        self.merged: list[object] = []


class _Reading:
    """The state between libyaml's events: a stack of containers, the anchors seen, the mistakes found."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.value: object = None
        self.mistakes: list[Mistake] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[object, int]] = {}
        self.documents = 0
        self.is_over = False

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._take_scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._open(event, {} if kind is yaml.MappingStartEvent else [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close(event)
        elif kind is yaml.AliasEvent:
            self._take_alias(event)
        elif kind is yaml.DocumentStartEvent:
            self.documents += 1
            if self.documents > 1:
                self._stop(event, "a second document begins here; keep one, without `---`")

    def _mistake(self, event: Any, message: str) -> None:
        self.mistakes.append(Mistake(self.file, event.start_mark.line + 1, event.start_mark.column + 1, message))

    def _stop(self, event: Any, message: str) -> None:
        self._mistake(event, message)
        self.is_over = True

    def _take_scalar(self, event: Any) -> None:
        stack = self.stack
        if stack and stack[-1].key is None and type(stack[-1].items) is dict:
            self._take_key(event, stack[-1])
            return
        text = event.value
        if event.tag is not None and event.tag != _TEXT_TAG:
            self._mistake(event, "tags (`!…`) are not used here; write the value without one")
        value = scalar(text) if event.implicit[0] else text
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._put(value, 1)

    def _take_key(self, event: Any, top: _Open) -> None:
        key = event.value
        top.is_merge = key == "<<" and event.implicit[0]
        if key in top.items and not top.is_merge:
            self._mistake(event, f"`{shown(key)}` stands here for the second time; keep one of the two")
        top.key = key
        if event.anchor is not None:
            self.anchors[event.anchor] = (key, 1)

    def _open(self, event: Any, items: dict[str, object] | list[object]) -> None:
        stack = self.stack
        if len(stack) >= MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} deep; nothing in this file needs that")
            return
        if stack and stack[-1].key is None and type(stack[-1].items) is dict:
            self._stop(event, "a name must be plain text, not a mapping or a list; put text that begins with `{` or `[` in quotes")
            return
        if event.tag is not None:
            self._mistake(event, "tags (`!…`) are not used here; write the value without one")
        stack.append(_Open(items, event.anchor))
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)

    def _close(self, event: Any) -> None:
        top = self.stack.pop()
        for merged in top.merged:
            self._merge(event, top, merged)
        if top.anchor is not None:
            self.anchors[top.anchor] = (top.items, top.count)
        self._put(top.items, top.count)

    def _merge(self, event: Any, top: _Open, merged: object) -> None:
        """`<<: *anchor`: what stands there holds where nothing is written here."""
        assert type(top.items) is dict
        for one in merged if isinstance(merged, list) else [merged]:
            if not isinstance(one, dict):
                self._mistake(event, "`<<` takes a mapping or a list of mappings; write `<<: *name`")
                return
            for key, value in one.items():
                top.items.setdefault(key, value)

    def _take_alias(self, event: Any) -> None:
        found = self.anchors.get(event.anchor)
        if found is None:
            self._stop(event, f"no finished anchor `&{shown(event.anchor)}` stands above; put text that begins with `*` in quotes")
            return
        value, count = found
        if self.stack and self.stack[-1].key is None and type(self.stack[-1].items) is dict:
            self._stop(event, "a name must be plain text; put text that begins with `*` in quotes")
            return
        self._put(value, count)
        if self.stack and self.stack[-1].count > MAX_VALUES:
            self._stop(event, "its anchors make this document endless; write less of it by reference")

    def _put(self, value: object, count: int) -> None:
        if not self.stack:
            self.value = value
            return
        top = self.stack[-1]
        top.count += count
        items = top.items
        if type(items) is list:
            items.append(value)
        elif top.is_merge:
            top.merged.append(value)
            top.key = None
        else:
            assert type(items) is dict
            assert top.key is not None
            items.setdefault(top.key, value)
            top.key = None


def place(text: str, file: str, findings: list[Finding]) -> list[Mistake]:
    """Give findings their line and column. `text` has been read by `read_yaml` without a mistake."""
    root = yaml.compose(text, Loader=_Loader)
    return [Mistake(file, *_position(root, finding), finding.message) for finding in findings]


def _position(root: Any, finding: Finding) -> tuple[int, int]:
    if root is None:
        return 1, 1
    mark = root.start_mark
    node, path = root, finding.path
    for index, part in enumerate(path):
        found = _child(node, part)
        if found is None:
            break  # what is missing is missed where it should stand
        key, node = found
        is_last = index == len(path) - 1
        mark = key.start_mark if (is_last and finding.is_about_key) or _is_empty(node) else node.start_mark
    return mark.line + 1, mark.column + 1


def _is_empty(node: Any) -> bool:
    """An empty value has no place of its own; its name is pointed at."""
    return isinstance(node, yaml.ScalarNode) and node.value == "" and not node.style


def _child(node: Any, part: str | int) -> tuple[Any, Any] | None:
    if isinstance(node, yaml.SequenceNode):
        return (node.value[part], node.value[part]) if isinstance(part, int) and part < len(node.value) else None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == part:
            return key, value
    for key, value in node.value:
        if key.value == "<<":
            for one in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                found = _child(one, part)
                if found is not None:
                    return found
    return None
