"""README's table of what can be asked: each call is one of the API, each command one of the program, each test runs on both
ledgers."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from proxy.cli import app
from proxy.control.app import routes

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ON_BOTH = {"house", "alarm", "place", "bobs", "ten_calls", "browser", "visitor"}
"""Fixtures that are parametrised by ledger."""
ROWS = [
    pytest.param(*[cell.strip() for cell in line.strip("|").split("|")], id=line.split("|")[1].strip())
    for line in README.split("### What can be asked, and where")[1].split("\nA record's fields")[0].splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| what"))
]


def commands(command: Any, words: tuple[str, ...] = ()) -> set[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return {" ".join(words)}
    return set().union(*(commands(one, (*words, name)) for name, one in inner.items()))


CALLS = {f"{route.method} {route.path.lstrip('/')}" for route in routes()}
COMMANDS = commands(typer.main.get_command(app))


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_is_there() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize(("what", "call", "command", "test"), ROWS)
def test_a_row_is_true(what: str, call: str, command: str, test: str) -> None:
    for one in quoted(call):
        methods, _, path = one.partition(" ")
        for method in methods.split("/"):
            assert f"{method} {path}" in CALLS, f"{what}: no call {method} {path}"
    for one in quoted(command):
        assert one in COMMANDS, f"{what}: no command {one}"
    assert quoted(call) or quoted(command)
    (named,) = quoted(test)
    module, _, function = named.partition("::")
    folder = "tests.commands" if module == "test_commands" else "tests.control"
    found = getattr(importlib.import_module(f"{folder}.{module if module.startswith('test_') else 'test_' + module}"), function)
    assert ON_BOTH & set(inspect.signature(found).parameters), f"{named} runs on one ledger only"
