"""Directories: defaults for what is missing, writing them out, schemas for editors."""

import json
import re
from pathlib import Path

import pytest

from proxy.config.build import build_rules
from proxy.config.load import builtin_directory, check, init, load, load_texts
from proxy.config.schema import FILES, json_schema, schema_text
from proxy.config.snapshot import make_snapshot
from proxy.errors import ConfigError
from proxy.rules import Settings


def test_a_missing_directory_means_the_built_in_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere", {}) == load(None, {})
    assert load(tmp_path, {}) == load(None, {})


def test_a_missing_file_means_its_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text("providers: {mine: {base_url: http://h}}\n")
    documents = load(tmp_path, {})
    assert list(documents.providers["providers"]) == ["mine"]
    assert documents.limits == load(None, {}).limits


def test_a_file_where_a_directory_should_be_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("mode: strict\n")
    (mistake,) = check(path, {})
    assert mistake.message == "is a file; name the directory that holds providers.yaml and limits.yaml"


def test_an_unreadable_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").mkdir()
    (mistake,) = check(tmp_path, {})
    assert mistake.file == str(tmp_path / "limits.yaml")
    assert mistake.message.startswith("cannot be read: ")


def test_the_built_in_defaults_limit_nothing_and_are_what_the_product_does() -> None:
    documents = load(None, {})
    assert documents.settings() == Settings()
    rules = build_rules(make_snapshot(documents), {}, pricebook=object())  # type: ignore[arg-type]
    assert (rules.auth, rules.output_cap, rules.unknown_model) == ("auto", "off", "allow")
    assert rules.resolve_all_limits(rules.caller_for_own_key("sk-x")) == ()


EXAMPLE = re.compile(r"# ( *(?:- )?(?:\"[^\"]*\"|[a-z_0-9-]+): ?.*| *- \{.*)")
LINES_THAT_ARE_SETTINGS = {"limits.yaml": 36, "prices.yaml": 9, "server.yaml": 28}


@pytest.mark.parametrize("name", sorted(LINES_THAT_ARE_SETTINGS))
def test_the_examples_in_the_built_in_comments_are_right(name: str) -> None:
    lines = (builtin_directory() / name).read_text().splitlines()[1:]
    text = [found.group(1) if (found := EXAMPLE.match(line)) else line for line in lines]
    assert len([line for line in text if line and not line.startswith("#")]) == LINES_THAT_ARE_SETTINGS[name]
    assert load_texts({name: "\n".join(text)}, {}).as_dict()[name.removesuffix(".yaml")]


def test_server_settings_in_words(tmp_path: Path) -> None:
    (tmp_path / "server.yaml").write_text(
        "max_json_body_bytes: 1 MiB\nstop_seconds: 5m\nfsync: off\nmax_drains: 7\nmetrics_user_label: true\n"
    )
    assert load(tmp_path, {}).settings() == Settings(
        max_json_body_bytes=2**20, stop_seconds=300.0, fsync="off", max_drains=7, metrics_user_label=True
    )


def test_sections_may_be_empty() -> None:
    text = "global:\ndefaults:\ntiers:\nteams: {red: }\nusers: {ann: }\nkeys:\n"
    assert load_texts({"limits.yaml": text}, {}).limits == {
        "global": {},
        "defaults": {},
        "tiers": {},
        "teams": {"red": {}},
        "users": {"ann": {}},
        "keys": [],
    }


def test_the_canonical_form_is_its_own_canonical_form() -> None:
    text = (
        "defaults: {cost_usd: {per_day: 0.10, total: {max: 1e3, mode: soft}}, tokens: {per_day: unlimited}, "
        'per_model: {"GPT*": {requests: {total: 1}}}}\n'
        f'keys: [{{key_sha256: "{"AB" * 32}", expires: 2027-01-31}}]\n'
    )
    limits = load_texts({"limits.yaml": text}, {}).limits
    assert limits["defaults"]["cost_usd"] == {"per_day": "0.10", "total": {"max": "1000", "mode": "soft"}}
    assert list(limits["defaults"]["per_model"]) == ["gpt*"]
    assert load_texts({"limits.yaml": json.dumps(limits)}, {}).limits == limits


def test_versions_differ_where_documents_do() -> None:
    one, two = load_texts({"limits.yaml": "mode: strict"}, {}), load_texts({"limits.yaml": "mode: soft"}, {})
    assert one.version != two.version
    assert one.version == load_texts({"limits.yaml": "mode:   strict  # the same"}, {}).version


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_bytes(b"\xef\xbb\xbfmode: strict\r\ntimezone: UTC\r\n")
    assert load(tmp_path, {}).limits == {"mode": "strict", "timezone": "UTC"}


def test_init_writes_files_that_load(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "config"
    written = init(directory)
    assert sorted(path.name for path in written if path.suffix == ".yaml") == sorted(FILES)
    assert check(directory, {}) == []
    assert load(directory, {}) == load(None, {})
    for name in FILES:
        first = (directory / name).read_text().splitlines()[0]
        schema = first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads((directory / schema).read_text())["title"] == name


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"prices\.yaml is there already"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["prices.yaml"]
    assert (tmp_path / "prices.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_shipped_schemas_are_current(name: str) -> None:
    shipped = builtin_directory() / "schema" / f"{name.removesuffix('.yaml')}.schema.json"
    assert shipped.read_text() == schema_text(name), "write them anew: proxy.config.load.write_schemas(Path('config/schema'))"


def test_schemas_are_closed_and_have_the_contracts_names() -> None:
    limits = json_schema("limits.yaml")
    assert limits["additionalProperties"] is False
    assert set(limits["properties"]) == {  # type: ignore[call-overload]
        "mode",
        "on_store_failure",
        "timezone",
        "alert_at",
        "auth",
        "identify_by",
        "output_cap",
        "global",
        "defaults",
        "tiers",
        "teams",
        "users",
        "keys",
    }
    assert "null" not in schema_text("limits.yaml")


def test_a_user_label_is_always_looked_at_first() -> None:
    documents = load_texts({"limits.yaml": "identify_by: ['header:X-User', body:user, body:metadata.user_id]"}, {})
    rules = build_rules(make_snapshot(documents), {}, pricebook=object())  # type: ignore[arg-type]
    assert rules.identify_by == ("header:x-weighbridge-user", "header:x-user", "body:user", "body:metadata.user_id")


def test_expiry_days_count_to_their_end_in_the_configured_zone() -> None:
    digests = ["1a" * 32, "2b" * 32, "3c" * 32]
    expiries = ["2026-07-01", "2026-07-01T12:00:00", "2026-07-01T12:00:00Z"]
    keys = "".join(
        f'  - {{key_sha256: "{digest}", expires: "{expires}"}}\n' for digest, expires in zip(digests, expiries, strict=True)
    )
    documents = load_texts({"limits.yaml": "timezone: Europe/Berlin\nkeys:\n" + keys}, {})
    rules = build_rules(make_snapshot(documents), {}, pricebook=object())  # type: ignore[arg-type]
    noon_utc = 1_782_907_200.0  # 2026-07-01T12:00:00Z; Berlin is two hours ahead in July
    assert [rules.callers[digest].expires_at for digest in digests] == [noon_utc + 10 * 3600, noon_utc - 2 * 3600, noon_utc]
