"""How values are shown, and what words on the command line mean."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from proxy.commands.failures import CommandFailed
from proxy.commands.showing import money, plain, shown, value_at
from proxy.commands.words import instant, limit_words
from tests.e2e.house import ROOT


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("1234.5678", "$1,234.57"),
        ("1", "$1.00"),
        ("0.25", "$0.2500"),
        ("0.0123456", "$0.0123"),
        ("0.0004", "$0.000400"),
        ("0.0000001", "<$0.000001"),
        ("-3", "−$3.00"),
        ("-0.00000001", "−<$0.000001"),
        ("text", "text"),
    ],
)
def test_money_never_looks_like_nothing(amount: str, text: str) -> None:
    assert money(amount) == text


def test_values() -> None:
    assert shown(None) == "–"
    assert shown(None, "money") == "–"
    assert shown(0) == "0"
    assert shown(1234567) == "1,234,567"
    assert shown(0.254, "share") == "25.4 %"
    assert shown(950.4, "ms") == "950 ms"
    assert shown(12_345, "ms") == "12.3 s"
    assert shown("2026-11-21T23:49:05.123456Z", "time") == "2026-11-21 23:49:05"
    assert shown([1, None, True]) == "1, –, yes"
    assert value_at({"a": {"b": 5}}, "a.b") == 5
    assert value_at({"a": None}, "a.b") is None
    assert plain("a\x1b[2Jb\x9bc\nd") == "a�[2Jb�c\nd"


def test_instants() -> None:
    now = datetime.now(UTC)
    assert instant("2026-11-21", "--x") == "2026-11-21T00:00:00.000000Z"
    assert instant("2026-11-21T10:00:00+02:00", "--x") == "2026-11-21T08:00:00.000000Z"
    assert instant("midnight", "--x")[:10] == (now + timedelta(days=1)).date().isoformat()
    assert abs(datetime.fromisoformat(instant("+2h", "--x")) - now - timedelta(hours=2)) < timedelta(seconds=5)
    with pytest.raises(CommandFailed, match="--until tomorrow"):
        instant("tomorrow", "--until")


def test_limits_in_words() -> None:
    assert limit_words(["tokens.per_day=1_000", "tokens.per_month=none", "cost_usd.per_day=0.5", "requests.total=unlimited"]) == {
        "tokens": {"per_day": 1000, "per_month": None},
        "cost_usd": {"per_day": "0.5"},
        "requests": {"total": "unlimited"},
    }
    for wrong in ("tokens", "=5", "tokens.=5", "tokens.per_day=-5", "tokens.per_day=1.5"):
        with pytest.raises(CommandFailed):
            limit_words([wrong])
    with pytest.raises(CommandFailed, match="twice"):
        limit_words(["tokens=5", "tokens.per_day=5"])


def test_reading_the_command_line_loads_neither_server_nor_tables() -> None:
    code = (
        "import sys; sys.argv = ['weighbridge', 'usage', 'summary', '--help']\n"
        "from proxy.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "dear = ('aiohttp', 'rich.table', 'asyncpg', 'proxy.assembly', 'proxy.control')\n"
        "print([name for name in dear if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
