"""Edits as they really happen to real files, and the snapshot they end in."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.config.mistakes import ConfigErrors, Mistake
from proxy.config.watch import QUIET_SECONDS, LiveConfig, SnapshotReader, write_snapshot
from proxy.errors import ConfigError
from proxy.routing.callers import Caller
from tests.waiting import within

WITHIN_SECONDS = 1.0


class Told:
    """What a watcher was told, and when."""

    def __init__(self) -> None:
        self.edits: list[tuple[Mistake, ...]] = []
        self._event = asyncio.Event()

    def __call__(self, mistakes: tuple[Mistake, ...]) -> None:
        self.edits.append(mistakes)
        self._event.set()

    async def next(self) -> tuple[Mistake, ...]:
        await asyncio.wait_for(self._event.wait(), 30)
        self._event.clear()
        return self.edits[-1]


@asynccontextmanager
async def watching(config: LiveConfig) -> AsyncIterator[Told]:
    told = Told()
    stop = asyncio.Event()
    task = asyncio.create_task(config.watch(told, stop))
    await asyncio.sleep(0.05)
    try:
        yield told
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


def live(directory: Path, tmp_path: Path) -> LiveConfig:
    return LiveConfig(directory, {}, tmp_path / "run" / "rules.json")


def amount_in_force(tmp_path: Path) -> int:
    snapshot = SnapshotReader(tmp_path / "run" / "rules.json").read()
    (limit,) = build_rules(snapshot, {}, pricebook=object()).limits_for(Caller("ann"), None)  # type: ignore[arg-type]
    return limit.amount


def limits(amount: int) -> str:
    return f"defaults: {{requests: {{per_day: {amount}}}}}\n"


class Gaps:
    """How long the pauses within a save really were: a busy machine makes more of 50 ms than any editor does."""

    longest = 0.0

    @classmethod
    def pause(cls) -> None:
        began = time.monotonic()
        time.sleep(0.05)
        cls.longest = max(cls.longest, time.monotonic() - began)


def save_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def save_atomically(path: Path, text: str) -> None:
    new = path.with_name(".new")
    new.write_text(text)
    os.replace(new, path)


def save_like_vim(path: Path, text: str) -> None:
    backup = path.with_name(path.name + "~")
    os.rename(path, backup)
    Gaps.pause()
    path.write_text("")
    Gaps.pause()
    path.write_text(text)
    backup.unlink()


def save_in_two_halves(path: Path, text: str) -> None:
    with open(path, "w") as file:
        file.write(text[:12])
        file.flush()
        Gaps.pause()
        file.write(text[12:])


@pytest.mark.parametrize("save", [save_in_place, save_atomically, save_like_vim, save_in_two_halves])
async def test_a_saved_file_is_in_force_within_a_second(tmp_path: Path, save: object) -> None:
    for number in range(tries := 20):
        Gaps.longest = 0.0
        try:
            await _save_twice(tmp_path / str(number), save)
            break
        except (AssertionError, ValueError):
            if Gaps.longest < QUIET_SECONDS or number == tries - 1:
                raise


async def _save_twice(tmp_path: Path, save: object) -> None:
    directory = tmp_path / "config"
    directory.mkdir(parents=True)
    (directory / "limits.yaml").write_text(limits(1))
    config = live(directory, tmp_path)
    assert amount_in_force(tmp_path) == 1
    async with watching(config) as told:
        for amount in (2, 3):
            await asyncio.to_thread(save, directory / "limits.yaml", limits(amount))  # type: ignore[arg-type]
            saved_at = time.monotonic()
            assert await told.next() == ()
            assert within(WITHIN_SECONDS, time.monotonic() - saved_at)
            assert amount_in_force(tmp_path) == amount
    assert [edit for edit in told.edits if edit] == [], "a half-saved file was read"
    assert config.accepted_count == 2


async def test_a_config_maps_link_swap_is_seen(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    for version in ("1", "2"):
        (directory / f"..{version}").mkdir(parents=True)
        (directory / f"..{version}" / "limits.yaml").write_text(limits(int(version)))
    os.symlink("..1", directory / "..data")
    os.symlink("..data/limits.yaml", directory / "limits.yaml")
    config = live(directory, tmp_path)
    assert amount_in_force(tmp_path) == 1
    async with watching(config) as told:
        os.symlink("..2", directory / "..data_tmp")
        os.replace(directory / "..data_tmp", directory / "..data")
        swapped_at = time.monotonic()
        assert await told.next() == ()
        assert within(WITHIN_SECONDS, time.monotonic() - swapped_at)
        assert amount_in_force(tmp_path) == 2


async def test_a_broken_edit_leaves_the_old_rules_in_force_until_it_is_mended(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "limits.yaml").write_text(limits(1))
    config = live(directory, tmp_path)
    before = config.version
    async with watching(config) as told:
        (directory / "limits.yaml").write_text("defaults: {request: {per_day: 2}}\n")
        (mistake,) = await told.next()
        assert mistake.message == "unknown setting `request` in defaults; did you mean `requests`?"
        assert config.mistakes == (mistake,)
        assert (config.version, amount_in_force(tmp_path)) == (before, 1)
        (directory / "limits.yaml").write_text(limits(2))
        assert await told.next() == ()
        assert (config.mistakes, amount_in_force(tmp_path)) == ((), 2)
    assert (config.accepted_count, config.refused_count) == (1, 1)


async def test_a_new_file_and_a_removed_file_are_edits(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    config = live(directory, tmp_path)
    async with watching(config) as told:
        (directory / "limits.yaml").write_text(limits(4))
        assert await told.next() == ()
        assert amount_in_force(tmp_path) == 4
        (directory / "limits.yaml").unlink()
        assert await told.next() == ()
        assert "defaults" not in config.documents.limits


async def test_a_directory_that_appears_later_is_watched(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    config = live(directory, tmp_path)
    async with watching(config) as told:
        directory.mkdir()
        (directory / "limits.yaml").write_text(limits(5))
        assert await told.next() == ()
        assert amount_in_force(tmp_path) == 5
        (directory / "limits.yaml").write_text(limits(6))
        assert await told.next() == ()
        assert amount_in_force(tmp_path) == 6


async def test_other_files_are_nobodys_edit(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "limits.yaml").write_text(limits(1))
    async with watching(live(directory, tmp_path)) as told:
        (directory / ".limits.yaml.swp").write_text("x")
        (directory / "notes.txt").write_text("x")
        await asyncio.sleep(0.6)
        assert told.edits == []


async def test_without_a_directory_there_is_nothing_to_watch(tmp_path: Path) -> None:
    config = LiveConfig(None, {}, tmp_path / "rules.json")
    async with watching(config) as told:
        assert told.edits == []


def test_a_configuration_that_is_wrong_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("mode: strickt")
    with pytest.raises(ConfigErrors):
        LiveConfig(tmp_path, {}, tmp_path / "rules.json")
    assert not (tmp_path / "rules.json").exists()


def test_an_overlay_is_a_new_snapshot_and_survives_reloads(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "limits.yaml").write_text(limits(1))
    config = live(directory, tmp_path)
    reader = SnapshotReader(tmp_path / "run" / "rules.json")
    reader.read()
    config.set_overlay({"stops": [{"scope": "all", "reason": "fire", "cut_streams": True}]})
    assert reader.changed()
    rules = build_rules(reader.read(), {}, pricebook=object())  # type: ignore[arg-type]
    assert rules.stops == ({"scope": "all", "reason": "fire", "cut_streams": "True"},)
    (directory / "limits.yaml").write_text(limits(22))
    assert config.reload() == ()
    assert reader.read()["overlay"] == config.overlay
    version = config.version
    config.set_overlay(dict(config.overlay))
    assert config.version == version


def test_a_snapshot_is_private_whole_and_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "run" / "rules.json"
    documents = load_texts({"limits.yaml": limits(1)}, {})
    first = write_snapshot(path, documents)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["rules.json"]
    assert write_snapshot(path, documents) == first
    assert write_snapshot(path, documents, {"stops": [{"scope": "all"}]}) != first
    assert write_snapshot(path, load_texts({"limits.yaml": limits(2)}, {})) != first


def test_a_reader_knows_whether_there_is_something_new(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    reader = SnapshotReader(path)
    assert not reader.changed()
    with pytest.raises(ConfigError, match="no snapshot"):
        reader.read()
    write_snapshot(path, load_texts({}, {}))
    assert reader.changed()
    assert reader.read()["documents"]["limits"] == {}
    assert not reader.changed()
    write_snapshot(path, load_texts({}, {}))
    assert reader.changed()
    path.unlink()
    assert not reader.changed()
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is no snapshot"):
        reader.read()


def test_keys_of_the_environment_stay_out_of_the_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    environ = {"OPENAI_API_KEY": "sk-from-the-environment"}
    write_snapshot(path, load_texts({}, environ))
    assert b"sk-from-the-environment" not in path.read_bytes()
    rules = build_rules(SnapshotReader(path).read(), environ, pricebook=object())  # type: ignore[arg-type]
    assert rules.providers["openai"].api_key == "sk-from-the-environment"
    assert "sk-from-the-environment" not in repr(rules)


def test_a_disk_that_is_full_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "limits.yaml").write_text(limits(1))
    config = live(directory, tmp_path)

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    (directory / "limits.yaml").write_text(limits(2))
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        (mistake,) = config.reload()
        assert "cannot be put in force: No space left on device" in mistake.message
        with pytest.raises(OSError, match="No space left"):
            config.set_overlay({"stops": [{"scope": "all"}]})
    assert config.overlay == {"keys": [], "overrides": {}, "stops": []}
    assert amount_in_force(tmp_path) == 1
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["rules.json"]
    assert config.reload() == ()
    assert amount_in_force(tmp_path) == 2
