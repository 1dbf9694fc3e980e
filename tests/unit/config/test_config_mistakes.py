"""Every class of mistake, with its exact place and what to write instead."""

from pathlib import Path

import pytest

from proxy.config.load import check, load_texts
from proxy.config.mistakes import ConfigErrors, looks_secret

DIGEST = "0123456789abcdef" * 4


def mistakes_of(file: str, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load_texts({file: text}, environ or {})
    return [str(mistake) for mistake in caught.value.mistakes]


def the_mistake(file: str, text: str, environ: dict[str, str] | None = None) -> str:
    found = mistakes_of(file, text, environ)
    assert len(found) == 1, found
    return found[0]


LIMITS = [
    ("mode: strickt\n", "1:7: mode: `strickt` is not known here; did you mean `strict`?"),
    ("mode:\n", "1:1: mode: nothing cannot stand here; write one of: strict, balanced, soft"),
    ("default: {}\n", "1:1: unknown setting `default`; did you mean `defaults`?"),
    ("users:\n  alice:\n    tokenz: {per_day: 1}\n", "3:5: unknown setting `tokenz` in users.alice; did you mean `tokens`?"),
    ("users: {alice: {tokens: {per_dya: 1}}}\n", "1:26: unknown setting `per_dya` in users.alice.tokens; did you mean `per_day`?"),
    (
        "defaults:\n  concurrent_requests: {max: 5, mod: soft}\n",
        "2:33: unknown setting `mod` in defaults.concurrent_requests; did you mean `mode`?",
    ),
    (
        "users:\n  alice: {mode: strict}\n",
        "2:11: unknown setting `mode` in users.alice; "
        "it stands at the top of the file or beside a limit: `tokens: {per_day: 1_000, mode: …}`",
    ),
    ("defaults:\n  tokens:\n    per_day: -1\n", "3:14: defaults.tokens.per_day: is negative; write 0 to forbid, or `unlimited`"),
    (
        "defaults:\n  tokens:\n    per_day:\n",
        "3:5: defaults.tokens.per_day: must be a whole number, not nothing; write e.g. 10_000, or `unlimited`",
    ),
    ("defaults: {tokens: {per_day: 1.5}}\n", "1:30: defaults.tokens.per_day: must be a whole number; write it without a fraction"),
    (
        "defaults: {tokens: {per_day: many}}\n",
        "1:30: defaults.tokens.per_day: must be a whole number, not text; write e.g. 10_000, or `unlimited`",
    ),
    (
        "defaults: {tokens: {per_day: true}}\n",
        "1:30: defaults.tokens.per_day: must be a whole number, not true or false; write e.g. 10_000, or `unlimited`",
    ),
    (
        "defaults: {tokens: {per_day: [1]}}\n",
        "1:30: defaults.tokens.per_day: must be a whole number, not a list; write e.g. 10_000, or `unlimited`",
    ),
    (
        "defaults: {tokens: {per_day: 99999999999999999999}}\n",
        "1:30: defaults.tokens.per_day: is larger than can be counted; write `unlimited`",
    ),
    (
        "defaults: {tokens: 5}\n",
        "1:20: defaults.tokens: must be a mapping, not a number; write `name: value` lines below it, or {name: value}",
    ),
    (
        "defaults: {tokens: }\n",
        "1:12: defaults.tokens: must be a mapping, not nothing; write `name: value` lines below it, or {name: value}",
    ),
    (
        "defaults: {cost_usd: {per_day: $10}}\n",
        "1:32: defaults.cost_usd.per_day: must be an amount of US dollars, not text; "
        "write the number alone, e.g. 12.50, or `unlimited`",
    ),
    ("defaults: {cost_usd: {per_day: -0.5}}\n", "1:32: defaults.cost_usd.per_day: is negative; write 0 to forbid, or `unlimited`"),
    (
        "defaults: {concurrent_requests: {mode: soft}}\n",
        "1:33: `max` is missing in defaults.concurrent_requests; write `max: 20`, or the number alone",
    ),
    (
        'defaults:\n  per_model: {"*": {tokens: {per_day: 1}}}\n',
        "2:14: defaults.per_model: `*` is every model; write these limits beside `per_model`, not in it",
    ),
    (
        "defaults: {per_model: {gpt-4o: {tokens: {per_day: x}}}}\n",
        "1:51: defaults.per_model.gpt-4o.tokens.per_day: must be a whole number, not text; write e.g. 10_000, or `unlimited`",
    ),
    ("timezone: Europe/Berlinn\n", "1:11: timezone: is no time zone; did you mean Europe/Berlin?"),
    ("timezone: ../../etc/passwd\n", "1:11: timezone: is no time zone; write an IANA name such as UTC or Europe/Berlin"),
    ("timezone: 2\n", "1:11: timezone: is no time zone; write an IANA name such as UTC or Europe/Berlin"),
    ("alert_at: [0.5, 80]\n", "1:17: alert_at[1]: must be a share of the limit; write e.g. 0.8 for 80 %"),
    ("alert_at: 0.5\n", "1:11: alert_at: must be a list, not a number; write [a, b] or lines that begin with `- `"),
    ("auth: key\n", "1:7: auth: `key` is not known here; did you mean `keys`?"),
    (
        "identify_by: [body:users]\n",
        "1:15: identify_by[0]: is no place to take a user from; "
        "write header:<name>, body:user, body:safety_identifier or body:metadata.user_id",
    ),
    (
        "users:\n  alice: {tier: premum}\ntiers: {premium: {}}\n",
        "2:17: users.alice.tier: no tier is named `premum`; did you mean `premium`?",
    ),
    (
        "users:\n  alice: {team: research}\n",
        "2:17: users.alice.team: no team is named `research`; add it under `teams:`, e.g. `teams: {research: {}}`",
    ),
    (
        f'keys:\n  - {{key_sha256: "{DIGEST}", tier: gold}}\n',
        "2:92: keys[0].tier: no tier is named `gold`; add it under `tiers:`, e.g. `tiers: {gold: {}}`",
    ),
    (
        "tiers: {gold: {priority: urgent}}\n",
        "1:26: tiers.gold.priority: `urgent` is not known here; write one of: low, normal, high",
    ),
    (
        "keys:\n  - user: alice\n",
        '2:5: `key_sha256` is missing in keys[0]; add `key_sha256: "…"`, which `printf %s "$KEY" | sha256sum` prints',
    ),
    (
        "keys:\n  - {key_sha256: abc}\n",
        '2:18: keys[0].key_sha256: must be 64 hex digits in quotes; `printf %s "$KEY" | sha256sum` prints them for a key',
    ),
    (
        "keys:\n  - {key_sha256: …}\n",
        '2:18: keys[0].key_sha256: must be 64 hex digits in quotes; `printf %s "$KEY" | sha256sum` prints them for a key',
    ),
    (
        "keys:\n  - {key_sha256: wb-tHisIsAkeyInClear0123456789}\n",
        '2:18: keys[0].key_sha256: is a key in clear; write its SHA-256 in hex, which `printf %s "$KEY" | sha256sum` prints, '
        "and treat the key as seen",
    ),
    (
        f'keys:\n  - {{key_sha256: "{DIGEST}"}}\n  - {{key_sha256: "{DIGEST.upper()}"}}\n',
        "3:18: keys[1].key_sha256: stands already at keys[0]; keep one of the two",
    ),
    (f'keys:\n  - {{key_sha256: "{DIGEST}", user: 42}}\n', "2:92: keys[0].user: must be text, not a number; put it in quotes"),
    (
        f'keys:\n  - {{key_sha256: "{DIGEST}", expires: soon}}\n',
        "2:95: keys[0].expires: is no date; write e.g. 2027-01-31 (valid through that day) or 2027-01-31T12:00:00Z",
    ),
    (
        f'keys:\n  - {{key_sha256: "{DIGEST}", may_speak_for_others: "yes"}}\n',
        "2:108: keys[0].may_speak_for_others: must be true or false; write it without quotes",
    ),
    ("keys: {a: 1}\n", "1:7: keys: must be a list, not a mapping; write [a, b] or lines that begin with `- `"),
    ("keys: [5]\n", "1:8: keys[0]: must be a mapping, not a number; write `name: value` lines below it, or {name: value}"),
    (
        'users: {"a\\nb": {}}\n',
        "1:9: users.a�b: must be printable text of at most 200 characters; "
        "write a shorter name without line breaks or spaces around it",
    ),
    ("users: [a]\n", "1:8: users: must be a mapping, not a list; write `name: value` lines below it, or {name: value}"),
    (
        "users: {bob: {models: [5]}}\n",
        "1:24: users.bob.models[0]: must be a model's name or a pattern such as `gpt-4o*`, not a number; put it in quotes",
    ),
    ("- a\n", "1:1: must be a mapping, not a list; write `name: value` lines below it, or {name: value}"),
    ("5\n", "1:1: must be a mapping, not a number; write `name: value` lines below it, or {name: value}"),
]


@pytest.mark.parametrize(("text", "expected"), LIMITS)
def test_limits_mistake(text: str, expected: str) -> None:
    assert the_mistake("limits.yaml", text) == "limits.yaml:" + expected


YAML = [
    ("mode: strict\nmode: soft\n", "2:1: `mode` stands here for the second time; keep one of the two"),
    ("users:\n  a: {}\n  b: {}\n  a: {}\n", "4:3: `a` stands here for the second time; keep one of the two"),
    ("users:\n\talice: {}\n", "2:1: not YAML: found character that cannot start any token; a tab cannot indent; write spaces"),
    ("users: {a: {}\n", "2:1: not YAML: did not find expected ',' or '}'; a `,`, a `}` or a `]` is missing"),
    (
        "mode: a: b\n",
        "1:8: not YAML: mapping values are not allowed in this context; "
        "a second `:` on this line, or the indent does not fit; put text that holds `: ` in quotes",
    ),
    ("users:\n  bob: {models: [*all]}\n", "2:18: no finished anchor `&all` stands above; put text that begins with `*` in quotes"),
    ("mode: !strict x\n", "1:7: tags (`!…`) are not used here; write the value without one"),
    ("mode: strict\n---\nmode: soft\n", "2:1: a second document begins here; keep one, without `---`"),
    ("? {a: b}\n: c\n", "1:3: a name must be plain text, not a mapping or a list; put text that begins with `{` or `[` in quotes"),
    ("mode: st\x07rict\n", "1:9: the character U+0007 cannot stand in YAML; take it out"),
    ("a: &a [*a]\n", "1:8: no finished anchor `&a` stands above; put text that begins with `*` in quotes"),
    ("a: " + "[" * 100 + "]" * 100 + "\n", "1:63: nested more than 60 deep; nothing in this file needs that"),
    ("users:\n  alice: {tier: 'x}\n", "3:1: not YAML: found unexpected end of stream; correct the line, or put the text in quotes"),
]


@pytest.mark.parametrize(("text", "expected"), YAML)
def test_syntax_mistake(text: str, expected: str) -> None:
    assert the_mistake("limits.yaml", text) == "limits.yaml:" + expected


PROVIDERS = [
    ("", "1:1: `providers` is missing; list at least one, e.g. `openai:`"),
    ("providers: {}\n", "1:12: providers: is empty; write something, or take it out"),
    ("providers:\n  mine: {api: openai}\n", "2:9: providers.mine: has no `base_url`; write e.g. base_url: https://api.example.com"),
    (
        "providers:\n  mine: {base_url: ftp://x}\n",
        "2:20: providers.mine.base_url: is no http:// or https:// address; write e.g. https://api.example.com",
    ),
    (
        "providers:\n  mine: {base_url: api.example.com}\n",
        "2:20: providers.mine.base_url: is no http:// or https:// address; write e.g. https://api.example.com",
    ),
    (
        "providers:\n  mine: {base_url: 'http://h:99999'}\n",
        "2:20: providers.mine.base_url: is no http:// or https:// address; write e.g. https://api.example.com",
    ),
    (
        "providers:\n  mine: {base_url: 'http://h/a?b=c'}\n",
        "2:20: providers.mine.base_url: has a `?` or a `#`; end it with the path, for callers' paths are put behind it",
    ),
    (
        "providers:\n  mine: {base_url: 'http://me:pw@h/'}\n",
        "2:20: providers.mine.base_url: holds a user or a password; put the key under `api_key`",
    ),
    (
        "providers:\n  openai: {base_url: 'https://api.openai.com/v1'}\n",
        "2:22: providers.openai.base_url: ends in /v1, which callers send as part of the path; write https://api.openai.com",
    ),
    (
        "providers:\n  mine: {base_url: '${MISSING_ONE}'}\n",
        "2:20: providers.mine.base_url: MISSING_ONE is not set; set it, write ${MISSING_ONE:-default}, or add `optional: true`",
    ),
    (
        "providers:\n  mine: {base_url: '${NAME'}\n",
        "2:20: providers.mine.base_url: a `${` is not closed; write ${NAME} or ${NAME:-default}",
    ),
    (
        "providers:\n  mine: {base_url: '${GARBLED}'}\n",
        "2:20: providers.mine.base_url: is no http:// or https:// address (from GARBLED); write e.g. https://api.example.com",
    ),
    (
        "providers:\n  openai: {api_key: '${GARBLED}'}\n",
        "2:21: providers.openai.api_key: holds spaces, line breaks or letters that no key has; "
        "correct the key, or the variable it comes from",
    ),
    ("providers:\n  openai: {api_kee: x}\n", "2:12: unknown setting `api_kee` in providers.openai; did you mean `api_key`?"),
    ("providers:\n  openai: {api: opena}\n", "2:17: providers.openai.api: `opena` is not known here; did you mean `openai`?"),
    ("providers:\n  openai: {auth: no}\n", "2:18: providers.openai.auth: `no` is not known here; did you mean `none`?"),
    (
        "providers:\n  openai: {headers: {'a b': c}}\n",
        "2:22: providers.openai.headers.a b: is no header name; write e.g. OpenAI-Organization",
    ),
    (
        'providers:\n  openai: {headers: {a: "b\\r\\nc: d"}}\n',
        "2:25: providers.openai.headers.a: has characters that a header cannot carry; write it on one line, in Latin letters",
    ),
    (
        "providers:\n  openai: {connect_timeout_seconds: soon}\n",
        "2:37: providers.openai.connect_timeout_seconds: must be a time; write seconds or e.g. 500ms, 30s, 5m, 2h",
    ),
    (
        "providers:\n  openai: {connect_timeout_seconds: 0}\n",
        "2:37: providers.openai.connect_timeout_seconds: must be longer than nothing; write e.g. 30s",
    ),
    ("providers:\n  openai: {max_connections: 0}\n", "2:29: providers.openai.max_connections: is smaller than 1; write 1 or more"),
    (
        "providers:\n  openai: {verify_tls: off}\n",
        "2:24: providers.openai.verify_tls: must be true or false; write it without quotes",
    ),
    (
        "providers:\n  openai: {proxy: socks5://x}\n",
        "2:19: providers.openai.proxy: is no http:// address of a proxy; write e.g. http://proxy.example.com:3128, or none",
    ),
    (
        "providers:\n  api: {base_url: http://h}\n",
        "2:3: providers.api: `api` is a path of this program; give the provider another name",
    ),
    (
        "providers:\n  a/b: {base_url: http://h}\n",
        "2:3: providers.a/b: is no provider's name; write letters, digits, `.`, `_`, `-`: it is part of the path",
    ),
    (
        "providers:\n  openai:\ndefault_provider: opnai\n",
        "3:19: default_provider: no provider is named `opnai`; did you mean `openai`?",
    ),
]


@pytest.mark.parametrize(("text", "expected"), PROVIDERS)
def test_providers_mistake(text: str, expected: str) -> None:
    assert the_mistake("providers.yaml", text, {"GARBLED": "not a\nkey"}) == "providers.yaml:" + expected


PRICES = [
    (
        "prices: {openai: {gpt-4o: {inputmtok: 1}}}\n",
        "1:28: unknown setting `inputmtok` in prices.openai.gpt-4o; did you mean `input_mtok`?",
    ),
    (
        "prices: {openai: {gpt-4o: {input_mtok: $1}}}\n",
        "1:40: prices.openai.gpt-4o.input_mtok: must be a price in US dollars, not text; write the number alone, e.g. 0.15",
    ),
    ("prices: {openai: {gpt-4o: {input_mtok: -1}}}\n", "1:40: prices.openai.gpt-4o.input_mtok: is negative; a price is 0 or more"),
    (
        "prices: {openai: {gpt-4o: 5}}\n",
        "1:27: prices.openai.gpt-4o: must be a mapping, not a number; write `name: value` lines below it, or {name: value}",
    ),
    ("prices: {opnai: {gpt-4o: {input_mtok: 1}}}\n", "1:10: no provider is named `opnai`; did you mean `openai`?"),
    ("unknown_model: deny\n", "1:16: unknown_model: `deny` is not known here; write one of: allow, refuse"),
    (
        "prices: {openai: {a: [{input_mtok: 1}, {input_mtok: 2}]}}\n",
        "1:22: prices.openai.a: prices of several days must ascend; give each but the first a later `valid_from`",
    ),
    (
        "prices: {openai: {a: {service_tiers: {flex: {input_mtok: 1}}}}}\n",
        "1:23: prices.openai.a.service_tiers: stands without prices; write input_mtok and output_mtok beside it",
    ),
    (
        "prices: {openai: {a: {valid_from: 2026-02-30, input_mtok: 1}}}\n",
        "1:35: prices.openai.a.valid_from: is no day; write e.g. 2027-01-31",
    ),
    (
        "prices: {openai: {a: {max_output_tokens: unlimited}}}\n",
        "1:42: prices.openai.a.max_output_tokens: must be a whole number, not text; write e.g. 200_000",
    ),
    (
        "prices: {openai: {a: {input_mtok: {base: 1, tiers: [{start: 5}]}}}}\n",
        "1:53: `price` is missing in prices.openai.a.input_mtok.tiers[0]; add it",
    ),
    (
        "prices: {openai: {a: {input_mtok: 1, valid_from: tomorrow}}}\n",
        "1:50: prices.openai.a.valid_from: is no day; write e.g. 2027-01-31",
    ),
]


@pytest.mark.parametrize(("text", "expected"), PRICES)
def test_prices_mistake(text: str, expected: str) -> None:
    assert the_mistake("prices.yaml", text) == "prices.yaml:" + expected


SERVER = [
    ("max_json_body_bytes: 64 MBit\n", "1:22: max_json_body_bytes: must be a size; write bytes or e.g. 64 MiB"),
    ("max_json_body: 64 MiB\n", "1:1: unknown setting `max_json_body`; did you mean `max_json_body_bytes`?"),
    ("drain_seconds: 5 fortnights\n", "1:16: drain_seconds: must be a time; write seconds or e.g. 500ms, 30s, 5m, 2h"),
    ("fsync: on\n", "1:8: fsync: `on` is not known here; write one of: off, interval, always"),
]


@pytest.mark.parametrize(("text", "expected"), SERVER)
def test_server_mistake(text: str, expected: str) -> None:
    assert the_mistake("server.yaml", text) == "server.yaml:" + expected


def test_all_mistakes_of_all_files_come_at_once_in_reading_order(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text("providers:\n  openai: {api_kee: x}\n")
    (tmp_path / "limits.yaml").write_text("mode: strickt\nusers:\n  bob: {tokens: {per_day: -1}, models: 5}\n")
    (tmp_path / "prices.yaml").write_text("unknown_model: deny\n")
    places = [(Path(mistake.file).name, mistake.line, mistake.column) for mistake in check(tmp_path, {})]
    assert places == [
        ("limits.yaml", 1, 7),
        ("limits.yaml", 3, 27),
        ("limits.yaml", 3, 40),
        ("prices.yaml", 1, 16),
        ("providers.yaml", 2, 12),
    ]


def test_a_mistake_names_the_file_as_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("mode: strickt\n")
    (mistake,) = check(tmp_path, {})
    assert str(mistake) == f"{tmp_path}/limits.yaml:1:7: mode: `strickt` is not known here; did you mean `strict`?"


def test_bytes_that_are_not_utf8_have_a_place(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_bytes(b"mode: strict\n# caf\xe9\n")
    (mistake,) = check(tmp_path, {})
    assert (mistake.line, mistake.column, mistake.message) == (2, 6, "is not UTF-8; save the file as UTF-8")


@pytest.mark.parametrize("name", ["limits.yml", "limit.yaml", "Limits.yaml", "provider.yaml", "price.yml"])
def test_a_file_that_would_not_be_read_is_a_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    (mistake,) = check(tmp_path, {})
    assert mistake.file.endswith(name)
    assert "is not read; rename it to " in mistake.message


def test_other_yaml_files_may_lie_beside(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text("services: {")
    assert check(tmp_path, {}) == []


SECRET = "sk-proj-Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("limits.yaml", f"keys:\n  - {{key_sha256: {SECRET}}}\n"),
        ("limits.yaml", f"keys:\n  - {{{SECRET}: x}}\n"),
        ("limits.yaml", f"{SECRET}: x\n"),
        ("limits.yaml", f"mode: {SECRET}\n"),
        ("limits.yaml", f"users: {{alice: {{tier: {SECRET}}}}}\n"),
        ("limits.yaml", f"users:\n  {SECRET}: {{}}\n  {SECRET}: {{}}\n"),
        ("limits.yaml", f"timezone: {SECRET}\n"),
        ("limits.yaml", f"mode: *{SECRET}\n"),
        ("providers.yaml", f"providers:\n  openai: {{api_key: '{SECRET} x'}}\n"),
        ("providers.yaml", f"providers:\n  openai: {{base_url: 'https://u:{SECRET}@h'}}\n"),
        ("providers.yaml", f"providers:\n  openai: {{api: {SECRET}}}\n"),
        ("providers.yaml", "providers:\n  openai: {base_url: '${WRONG}'}\n"),
    ],
)
def test_a_secret_in_the_wrong_place_is_never_repeated(file: str, text: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load_texts({file: text}, {"WRONG": SECRET})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["alice", "premium", "gpt-4o-mini", "claude-sonnet-4-5", "research", "body:metadata.user_id"])
def test_ordinary_names_are_shown(name: str) -> None:
    assert not looks_secret(name)
