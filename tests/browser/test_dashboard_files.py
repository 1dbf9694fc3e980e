"""The dashboard's files: vendored code is what was published, modules stay small, nothing points away from the house."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

DASHBOARD = Path(__file__).parents[2] / "proxy" / "control" / "dashboard"
VENDOR = DASHBOARD / "vendor"
MOST_LINES = 300
OWN = sorted(path for path in DASHBOARD.rglob("*") if path.suffix in (".js", ".css", ".html") and VENDOR not in path.parents)


def test_vendored_files_are_as_published() -> None:
    listed = {one["file"]: one for one in json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))["files"]}
    present = {path.name for path in VENDOR.iterdir()} - {"manifest.json"}
    assert present == set(listed)
    for name, one in listed.items():
        assert sha256((VENDOR / name).read_bytes()).hexdigest() == one["sha256"], name
        assert one["licence"]
        assert one["version"]


@pytest.mark.parametrize("path", OWN, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_own_files_are_small_and_stay_at_home(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    assert not re.search(r"https?://(?!www\.w3\.org/)[a-z0-9.-]+\.[a-z]{2,}", text), "an address outside the house"
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", text), "inline script or style: the policy forbids it"


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix == ".js"], ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_imports_lead_somewhere_and_are_used(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for names, source in re.findall(r"^import \{([^}]*)\} from \"([^\"]+)\";", text, re.MULTILINE):
        target = (path.parent / source).resolve()
        assert target.is_file(), source
        for name in (name.strip() for name in names.split(",") if name.strip()):
            assert len(re.findall(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text)) > 1, f"{name} is imported and not used"
            if VENDOR not in target.parents:
                offered = target.read_text(encoding="utf-8")
                assert re.search(rf"export (?:async )?(?:const|function|class) {re.escape(name)}\b", offered), (
                    f"{source} has no {name}"
                )


def test_the_first_screen_is_fetched_at_once() -> None:
    """Every module that the overview needs stands in the page's head, so that none waits for another to name it."""
    page = (DASHBOARD / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:modulepreload" href|src)="/dashboard/([^"]+\.js)"', page)) - {"client/theme.js"}
    needed: set[Path] = set()
    waiting = [DASHBOARD / "main.js", DASHBOARD / "views" / "overview.js"]
    while waiting:
        path = waiting.pop()
        needed.add(path)
        sources = re.findall(r"^import [^;]*from \"([^\"]+)\";", path.read_text(encoding="utf-8"), re.MULTILINE)
        waiting += {(path.parent / source).resolve() for source in sources} - needed
    assert named == {path.relative_to(DASHBOARD).as_posix() for path in needed}
