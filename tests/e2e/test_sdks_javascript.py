"""The JavaScript SDKs through the proxy: openai, @anthropic-ai/sdk, and the AI SDK with its OpenAI provider, on Node.

Installed from the lock file into a temporary copy; a machine without Node or npm fails here, it does not skip.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import Door, Price
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, virtual_key
from tests.node import node_environment

HERE = pathlib.Path(__file__).parent / "javascript"
GPT_4O_MINI = Price("0.15", "0.60", cache_read="0.075")
HAIKU = Price("1.00", "5.00", cache_read="0.10", cache_write="1.25")
EMBEDDING = Price("0.02", "0")
CALLS = {
    "openai-chat": ("openai", GPT_4O_MINI),
    "openai-chat-stream": ("openai", GPT_4O_MINI),
    "openai-chat-tool": ("openai", GPT_4O_MINI),
    "openai-responses-stream": ("openai", GPT_4O_MINI),
    "openai-embeddings": ("openai", EMBEDDING),
    "anthropic-messages": ("anthropic", HAIKU),
    "anthropic-stream": ("anthropic", HAIKU),
    "anthropic-tool": ("anthropic", HAIKU),
    "vercel-responses": ("openai", GPT_4O_MINI),
    "vercel-chat-stream": ("openai", GPT_4O_MINI),
    "vercel-chat-tool": ("openai", GPT_4O_MINI),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The script beside its node_modules."""
    environment = node_environment()
    directory: pathlib.Path = tmp_path_factory.mktemp("javascript")
    for name in ("package.json", "package-lock.json", "sdks.mjs"):
        shutil.copy(HERE / name, directory / name)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"npm ci failed:\n{done.stdout}\n{done.stderr}"
    return directory


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"js-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def seen(installed: pathlib.Path, house: House, prefix: str) -> dict[str, Any]:
    """What each SDK saw, by call."""
    path = node_environment()["PATH"]
    node = shutil.which("node", path=path)
    assert node
    env = {"PATH": path, "BASE_URL": house.url, "KEY": virtual_key("ada"), "CALL": prefix}
    done = subprocess.run([node, "sdks.mjs"], cwd=installed, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"the script failed:\n{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_call_was_made(seen: dict[str, Any]) -> None:
    assert set(seen) == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_sdk_and_ledger_agree(provider: FakeProvider, house: House, seen: dict[str, Any], prefix: str, name: str) -> None:
    at, price = CALLS[name]
    entry = Door(provider, house).check(f"{prefix}-{name}", price, at)
    saw = seen[name]
    assert saw.get("output", entry["output_tokens"]) == entry["output_tokens"]
    assert saw.get("input", entry["input_tokens"]) == entry["input_tokens"]
    assert saw.get("tool", "road_weather") == "road_weather"
    assert "text" not in saw or len(saw["text"].replace(".", " .").split()) == 11


def test_usage_nobody_asked_for_is_not_seen(seen: dict[str, Any]) -> None:
    assert seen["openai-chat-stream"]["sawUsage"] is False
    assert seen["openai-chat-stream"]["sawNoChoice"] is False
