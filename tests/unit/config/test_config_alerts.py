"""alerts.yaml: what each channel needs, said with its place; references to the environment; the built-in examples."""

import re

import pytest

from proxy.config.load import builtin_directory, load, load_texts
from proxy.config.mistakes import ConfigErrors

EXAMPLE = re.compile(r"# ( *(?:- )?[a-z_]+: ?.*)")


def mistakes_of(text: str, environ: dict[str, str] | None = None) -> list[str]:
    try:
        load_texts({"alerts.yaml": text}, environ or {})
    except ConfigErrors as errors:
        return [str(mistake) for mistake in errors.mistakes]
    return []


def test_the_built_in_examples_are_right() -> None:
    lines = (builtin_directory() / "alerts.yaml").read_text().splitlines()[5:]
    text = "\n".join(found.group(1) for line in lines if (found := EXAMPLE.match(line)))
    document = load_texts({"alerts.yaml": text}, {}).alerts
    assert [one["channel"] for one in document["destinations"]] == ["webhook", "slack", "email"]
    assert document["anomalies"] == {"tokens": "2", "cost_usd": "2", "requests": "3", "by": ["user", "key", "model"]}
    assert load(None, {}).alerts == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("destinations: [{name: a, channel: fax}]", "1:35: destinations[0].channel: `fax` is not known here"),
        ("destinations: [{name: a, channel: webhook}]", "1:35: destinations[0].url is missing; webhook needs it"),
        ("destinations: [{name: a, channel: webhook, url: ftp://h}]", "1:49: destinations[0].url is no address of this kind"),
        ("destinations: [{name: a, channel: slack, url: 'http://h', secret: x}]", "1:59: destinations[0].secret: slack has no"),
        ("destinations: [{name: a, channel: webhook, url: '${HOOK}'}]", "1:49: destinations[0].url: HOOK is not set"),
        (
            "destinations: [{name: a, channel: email, smtp_url: smtp://h, sender: a@b}]",
            "1:35: destinations[0].recipients is missing",
        ),
        (
            "destinations: [{name: a, channel: slack, url: 'http://h'}, {name: a, channel: slack, url: 'http://h'}]",
            "1:67: destinations[1].name: another destination has this name",
        ),
        ("anomalies: {tokens: 0.5}", "1:21: "),
        ("anomalies: {words: 2}", "1:13: "),
        ("destinations: [{name: a, channel: slack, url: 'http://h', quiet_hours: {start: '25:00', end: '07:00'}}]", "1:80: "),
    ],
)
def test_mistakes_are_placed_and_say_what_to_do(text: str, expected: str) -> None:
    (found,) = mistakes_of(text)
    assert found.startswith("alerts.yaml:" + expected), found


def test_addresses_come_from_the_environment_and_stay_out_of_the_snapshot() -> None:
    text = "destinations: [{name: a, channel: webhook, url: '${HOOK}', secret: '${SECRET:-}'}]"
    assert mistakes_of(text, {"HOOK": "https://h/x"}) == []
    document = load_texts({"alerts.yaml": text}, {"HOOK": "https://h/x"}).alerts
    assert document["destinations"][0]["url"] == "${HOOK}"
