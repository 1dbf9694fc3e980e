"""Plausible text and its token count: one token is one word or one punctuation mark.

Rules of this file: pure and deterministic; `tokens_of("".join(made))` equals `len(made)` for whatever `make_words` made,
so that every count the fake provider reports can be checked by counting.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

TOKEN = re.compile(r"\w+|[^\w\s]")
MEDIA_CHARS = 1_500
"""A string longer than this without a space is a picture or a sound in base64, not text."""
MEDIA_TOKENS = 85
MESSAGE_TOKENS = 3
"""What the envelope of one message costs: role and separators."""

_SUBJECTS = (
    *("The bridge", "A lorry", "The scale", "Our ledger", "Each load", "The driver"),
    *("A ticket", "The yard", "The operator", "This road", "The gate", "Every axle"),
)
_VERBS = ("weighs", "records", "carries", "settles", "measures", "passes", "holds", "counts", "compares", "releases", "clears")
_OBJECTS = (
    *("the cargo", "a second opinion", "its tare weight", "the morning queue"),
    *("seven tons of gravel", "one clean receipt", "the daily sum", "an honest number"),
)
_TAILS = (
    *("before noon", "without a stop", "as it rolls over", "to the last gram"),
    *("and nothing is lost", "for the same price", "in plain sight", "while the rain falls"),
)


def tokens_of(text: str) -> int:
    """How many tokens a text has."""
    return len(TOKEN.findall(text))


def make_words(rng: random.Random, count: int) -> list[str]:
    """`count` tokens of prose, each with the space that goes before it; joined they are the text."""
    made: list[str] = []
    while len(made) < count:
        sentence = " ".join((rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS), rng.choice(_TAILS)))
        made += [(" " if made or at else "") + word for at, word in enumerate(sentence.split(" "))]
        made.append(".")
    return made[:count]


def tokens_in(value: object) -> int:
    """Tokens of everything readable in a JSON value: texts at any depth; media count a flat sum; numbers count nothing."""
    if isinstance(value, str):
        if len(value) > MEDIA_CHARS and " " not in value[:MEDIA_CHARS]:
            return MEDIA_TOKENS
        return tokens_of(value)
    if isinstance(value, Mapping):
        return sum(tokens_in(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(tokens_in(inner) for inner in value)
    return 0


def sample_arguments(schema: object, rng: random.Random) -> dict[str, object]:
    """Arguments that fit a tool's JSON schema, plainly."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    made: dict[str, object] = {}
    for name, rule in (properties or {}).items():
        rule = rule if isinstance(rule, Mapping) else {}
        kind = str(rule.get("type", "string")).lower()
        if rule.get("enum"):
            made[name] = rule["enum"][0]
        elif kind in ("integer", "number"):
            made[name] = rng.randint(1, 40)
        elif kind == "boolean":
            made[name] = True
        elif kind == "array":
            made[name] = []
        elif kind == "object":
            made[name] = {}
        else:
            made[name] = rng.choice(("Bristol", "Rotterdam", "Hamburg", "Antwerp"))
    return made
