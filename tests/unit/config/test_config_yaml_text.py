"""What scalars mean and how anchors work."""

from decimal import Decimal

import pytest

from proxy.config.mistakes import Finding
from proxy.config.yaml_text import YamlMistakes, place, read_yaml, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("5", 5),
        ("-5", -5),
        ("10_000", 10_000),
        ("0123", 123),
        ("0.1", Decimal("0.1")),
        ("0.10", Decimal("0.10")),
        (".5", Decimal("0.5")),
        ("5.", Decimal(5)),
        ("1e6", Decimal("1E+6")),
        ("1_0.5", Decimal("10.5")),
        ("1.2.3", "1.2.3"),
        (".1.5", ".1.5"),
        (".1", Decimal("0.1")),
        ("1_.5_", Decimal("1.5")),
        ("1e9999999", "1e9999999"),
        ("9" * 60, "9" * 60),
        ("_1", "_1"),
        ("-", "-"),
        ("+", "+"),
        (".", "."),
        ("...", "..."),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("gpt-4o*", "gpt-4o*"),
        ("4o", "4o"),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    found = scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_a_price_never_passes_through_a_float() -> None:
    assert str(read_yaml("p: 0.1000000000000000055511151231257827", "f")["p"]) == "0.1000000000000000055511151231257827"  # type: ignore[index]


def test_quotes_and_blocks_are_text() -> None:
    assert read_yaml('a: "5"\nb: \'true\'\nc: |\n  x\n  y\nd: !!str 7\n"1": 2\n3: 4\ntrue: 5', "f") == {
        "a": "5",
        "b": "true",
        "c": "x\ny\n",
        "d": "7",
        "1": 2,
        "3": 4,
        "true": 5,
    }


def test_json_is_yaml() -> None:
    assert read_yaml('{"a": [1, 2.5, null, true, "x"]}', "f") == {"a": [1, Decimal("2.5"), None, True, "x"]}


def test_an_empty_text_is_nothing() -> None:
    assert read_yaml("", "f") is None
    assert read_yaml("# only a comment\n", "f") is None


def test_anchors_and_merges() -> None:
    text = "base: &base {a: 1, b: 2}\none: {<<: *base, b: 3}\ntwo:\n  <<: [*base, {c: 4}]\nthree: *base\n"
    assert read_yaml(text, "f") == {
        "base": {"a": 1, "b": 2},
        "one": {"a": 1, "b": 3},
        "two": {"a": 1, "b": 2, "c": 4},
        "three": {"a": 1, "b": 2},
    }


def test_a_quoted_merge_key_is_a_name() -> None:
    assert read_yaml('{"<<": 1}', "f") == {"<<": 1}


@pytest.mark.parametrize("text", ["<<: 5", "<<: [1]", "<<: x"])
def test_a_merge_of_something_else_is_a_mistake(text: str) -> None:
    with pytest.raises(YamlMistakes) as caught:
        read_yaml(text, "f")
    assert "`<<` takes a mapping or a list of mappings" in caught.value.mistakes[0].message


def test_a_document_that_explodes_is_refused() -> None:
    lines = ["a0: &a0 [" + ", ".join("x" * 100) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 100) + "]" for n in range(1, 6)]
    with pytest.raises(YamlMistakes) as caught:
        read_yaml("\n".join(lines), "f")
    assert "anchors make this document endless" in caught.value.mistakes[0].message


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 200_000, "{a: " * 100_000, "? " * 100_000])
def test_depth_is_refused_where_the_c_library_would_overflow(text: str) -> None:
    with pytest.raises(YamlMistakes) as caught:
        read_yaml(text, "f")
    assert len(caught.value.mistakes) >= 1


def test_places_follow_merges_and_point_at_names_of_empty_values() -> None:
    text = "base: &base\n  a: 1\nuser:\n  <<: *base\n  b:\n  c: [1,\n    2]\n"
    findings = [
        Finding(("user", "a"), "merged"),
        Finding(("user", "b"), "empty"),
        Finding(("user", "c", 1), "in list"),
        Finding(("user", "c"), "name", is_about_key=True),
        Finding(("user", "nowhere"), "missing"),
        Finding((), "root"),
    ]
    assert [(m.message, m.line, m.column) for m in place(text, "f", findings)] == [
        ("merged", 2, 6),
        ("empty", 5, 3),
        ("in list", 7, 5),
        ("name", 6, 3),
        ("missing", 4, 3),
        ("root", 1, 1),
    ]
