"""A real model server (llama.cpp) behind the proxy: what it counted is what the ledger holds, in each API that it speaks."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest
import xllamacpp

from tests.e2e.house import House, limits_yaml, virtual_key
from tests.e2e.tiny_model import write_tiny_model

QUESTION = "How much does a lorry weigh, and who says so?"
ASK: Any = [{"role": "user", "content": QUESTION}]
INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK = 3, 7


@pytest.fixture(scope="module")
def model_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path: pathlib.Path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(path)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = 1024
    settings.n_parallel = 1
    settings.warmup = False
    settings.cpuparams.n_threads = 1
    settings.verbosity = -1
    # The likeliest token always: where the first one drawn is half a UTF-8 character, llama.cpp leaves out `message_start`.
    settings.sampling.temp = 0.0
    server = xllamacpp.Server(settings)
    yield server.listening_address
    del server


@pytest.fixture(scope="module")
def llama_house(model_url: str) -> Iterator[House]:
    files = {
        "providers.yaml": f"providers:\n  llama:\n    base_url: {model_url}\n    api: openai\n    api_key: sk-local\n",
        "limits.yaml": limits_yaml({"ada": "{tokens: {per_day: 1_000_000}}"}),
        "prices.yaml": f'prices:\n  llama:\n    "*": {{input_mtok: {INPUT_USD_PER_MTOK}, output_mtok: {OUTPUT_USD_PER_MTOK}}}\n',
    }
    with House(files) as started:
        yield started


@pytest.fixture
def labels(call: str) -> dict[str, str]:
    return {"x-weighbridge-session": call}


@pytest.fixture
def openai_client(llama_house: House) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{llama_house.url}/llama/v1", api_key=virtual_key("ada"), max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(llama_house: House) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{llama_house.url}/llama", api_key=virtual_key("ada"), max_retries=0) as client:
        yield client


def check(house: House, call: str, api: str, input_tokens: int, cached: int, output_tokens: int, is_stream: bool) -> None:
    """One record with the server's own counts, priced: llama.cpp's cache is free of a tariff of its own."""
    records = house.records_when(1, session=call)
    assert len(records) == 1
    record = records[0]
    wanted = {"api": api, "user": "ada", "streamed": is_stream, "outcome": "ok", "usage_source": "reported"}
    assert {field: record[field] for field in wanted} == wanted
    assert (record["input_tokens"], record["cache_read_tokens"] or 0, record["output_tokens"]) == (
        input_tokens,
        cached,
        output_tokens,
    )
    cost = Decimal(input_tokens * INPUT_USD_PER_MTOK + output_tokens * OUTPUT_USD_PER_MTOK) / 1_000_000
    assert Decimal(record["cost_usd"]) == cost
    house.nothing_held("ada")


def test_openai_chat(llama_house: House, openai_client: openai.OpenAI, call: str, labels: dict[str, str]) -> None:
    answer = openai_client.chat.completions.create(model="tiny", messages=ASK, max_tokens=9, extra_headers=labels)
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 9
    assert usage.prompt_tokens_details is not None
    cached = usage.prompt_tokens_details.cached_tokens or 0
    check(llama_house, call, "openai.chat", usage.prompt_tokens, cached, 9, False)


@pytest.mark.parametrize("asks", [True, False])
def test_openai_chat_stream(
    llama_house: House, openai_client: openai.OpenAI, call: str, labels: dict[str, str], asks: bool
) -> None:
    """Asked for or not, the ledger has the usage; only who asked sees it."""
    options: Any = {"include_usage": True} if asks else openai.omit
    stream = openai_client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=9, stream=True, stream_options=options, extra_headers=labels
    )
    chunks = list(stream)
    seen = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(seen) == (1 if asks else 0)
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks)
    record = llama_house.records_when(1, session=call)[0]
    input_tokens = seen[0].prompt_tokens if seen else record["input_tokens"]
    assert input_tokens > 40, "the question is bytes to this vocabulary"
    cached = (
        (seen[0].prompt_tokens_details.cached_tokens or 0)
        if seen and seen[0].prompt_tokens_details
        else record["cache_read_tokens"]
    )
    check(llama_house, call, "openai.chat", input_tokens, cached or 0, 9, True)


@pytest.mark.parametrize("is_stream", [False, True])
def test_openai_responses(
    llama_house: House, openai_client: openai.OpenAI, call: str, labels: dict[str, str], is_stream: bool
) -> None:
    answer: Any = openai_client.responses.create(
        model="tiny", input=QUESTION, max_output_tokens=9, stream=is_stream, extra_headers=labels
    )
    usage = list(answer)[-1].response.usage if is_stream else answer.usage
    assert usage.output_tokens == 9
    check(llama_house, call, "openai.responses", usage.input_tokens, usage.input_tokens_details.cached_tokens, 9, is_stream)


@pytest.mark.parametrize("is_stream", [False, True])
def test_anthropic_messages(
    llama_house: House, anthropic_client: anthropic.Anthropic, call: str, labels: dict[str, str], is_stream: bool
) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASK, "max_tokens": 9, "extra_headers": labels}
    if is_stream:
        with anthropic_client.messages.stream(**asked) as stream:
            usage = stream.get_final_message().usage
    else:
        usage = anthropic_client.messages.create(**asked).usage
    cached = usage.cache_read_input_tokens or 0
    assert usage.output_tokens == 9
    check(llama_house, call, "anthropic.messages", usage.input_tokens + cached, cached, 9, is_stream)
