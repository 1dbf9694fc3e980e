"""`${NAME}` in strings."""

import pytest

from proxy.config.environment import MalformedReference, MissingVariable, expand, variables

ENVIRON = {"A": "1", "B": "two", "EMPTY": "", "PADDED": " x \n", "LOOP": "${A}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A", "$A"),
        ("${A}", "1"),
        ("x${A}y${B}z", "x1ytwoz"),
        ("${NONE:-d}", "d"),
        ("${A:-d}", "1"),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-}", ""),
        ("${NONE:-${B}}", "two"),
        ("${NONE:-${NADA:-x}y}", "xy"),
        ("${A:-${NONE}}", "1"),
        ("$${A}", "${A}"),
        ("$$", "$$"),
        ("${PADDED}", "x"),
        ("${LOOP}", "${A}"),
        ("https://${NONE:-us}-x.example.com", "https://us-x.example.com"),
        ("a}b", "a}b"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, ENVIRON) == expected


@pytest.mark.parametrize(
    ("text", "name"), [("${NONE}", "NONE"), ("${EMPTY}", "EMPTY"), ("a${A}b${NONE}", "NONE"), ("${NONE:-${NADA}}", "NADA")]
)
def test_missing_variables_are_named(text: str, name: str) -> None:
    with pytest.raises(MissingVariable) as caught:
        expand(text, ENVIRON)
    assert caught.value.name == name


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${A:-", "${A:-x", "${1A}", "${A-x}", "${A:x}", "${ A}", "${A:-${}}"])
def test_malformed_references(text: str) -> None:
    with pytest.raises(MalformedReference):
        expand(text, ENVIRON)


def test_variables_of_a_text() -> None:
    assert variables("${A:-${B}} $${C}") == ["A", "B"]
