"""Text and counts agree, and knobs say what they cannot read."""

import random

import pytest

from proxy.demo.book import Book, Entry
from proxy.demo.knobs import Knobs, read_knobs
from proxy.demo.words import MEDIA_TOKENS, make_words, sample_arguments, tokens_in, tokens_of


@pytest.mark.parametrize("count", [0, 1, 2, 7, 50, 333])
def test_made_words_count_as_made(count: int) -> None:
    words = make_words(random.Random(count), count)
    assert len(words) == count == tokens_of("".join(words))


def test_tokens_are_words_and_marks() -> None:
    assert tokens_of("It's seven tons, no less.") == 9  # It ' s seven tons , no less .


def test_tokens_in_finds_texts_at_any_depth() -> None:
    assert tokens_in({"a": ["one two", {"b": "three"}], "n": 5, "none": None}) == 3


def test_pictures_are_not_counted_as_words() -> None:
    assert tokens_in({"url": "data:image/png;base64," + "A" * 4_000}) == MEDIA_TOKENS


def test_arguments_fit_the_schema() -> None:
    schema = {
        "properties": {"n": {"type": "integer"}, "u": {"enum": ["kg", "t"]}, "ok": {"type": "boolean"}, "city": {"type": "string"}}
    }
    made = sample_arguments(schema, random.Random(1))
    assert isinstance(made["n"], int)
    assert made["u"] == "kg"
    assert made["ok"] is True
    assert isinstance(made["city"], str)


def test_knobs_are_read() -> None:
    knobs = read_knobs("call=a, words=5, cut=3, delay=0.25, usage=no, gzip=1")
    assert knobs == Knobs(call="a", words=5, cut=3, delay=0.25, usage=False, gzip=True)
    assert read_knobs(None) == Knobs()


@pytest.mark.parametrize("header", ["colour=red", "words=many", "nonsense"])
def test_an_unknown_knob_is_an_error(header: str) -> None:
    with pytest.raises(ValueError):
        read_knobs(header)


def test_the_book_counts_tries_and_forgets_the_oldest() -> None:
    book = Book(size=2)
    assert [book.open(Entry(f"req_{number}", "same", "openai.chat", "POST", "/")) for number in range(3)] == [0, 1, 2]
    assert [entry["request_id"] for entry in book.entries("same")] == ["req_1", "req_2"]
    book.clear()
    assert book.entries() == []
