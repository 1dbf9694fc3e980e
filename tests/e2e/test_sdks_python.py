"""The official Python SDKs through the proxy: the application sees what the provider sent, the ledger what the provider counted.

Every test runs straight at the fake provider too (the `door` fixture), so a failure on one side only says whose it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import cohere
import groq
import httpx
import ollama
import openai
import pytest
import together
from google import genai
from google.genai import types as genai_types
from langchain_openai import ChatOpenAI
from mistralai.client import Mistral

from tests.e2e.conftest import Door, Price

QUESTION = "How much does a lorry weigh, and who says so?"
ASK = [{"role": "user", "content": QUESTION}]
TOOL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOL = {"type": "function", "function": {"name": "road_weather", "description": "Weather on the road", "parameters": TOOL_SCHEMA}}

GPT_4O_MINI = Price("0.15", "0.60", cache_read="0.075")
HAIKU = Price("1.00", "5.00", cache_read="0.10", cache_write="1.25")
FLASH = Price("0.30", "2.50", cache_read="0.03")
EMBEDDING = Price("0.02", "0")
MISTRAL = Price("2", "6")
COMMAND_A = Price("2.50", "10")
GROQ_LLAMA = Price("0.59", "0.79")
TOGETHER_LLAMA = Price("0.88", "0.88")
LOCAL_LLAMA = Price("0.02", "0.03")


def openai_client(door: Door) -> openai.OpenAI:
    return openai.OpenAI(base_url=door.at("openai", "/v1"), api_key=door.key, max_retries=0)


class TestOpenAI:
    def test_chat(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            answer = client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, extra_headers=door.headers(call, "cached=4, reasoning=3, words=21, gzip=1")
            )
        entry = door.check(call, GPT_4O_MINI, "openai")
        assert entry["output_tokens"] == 24
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (entry["input_tokens"], 24)
        assert answer.model == "gpt-4o-mini-2024-07-18"
        assert len((answer.choices[0].message.content or "").replace(".", " .").split()) == 21

    def test_chat_stream_unasked(self, door: Door, call: str) -> None:
        """The client did not ask for usage: it sees none, the ledger has it."""
        with openai_client(door) as client:
            stream = client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, stream=True, extra_headers=door.headers(call, "words=20")
            )
            chunks = list(stream)
        entry = door.check(call, GPT_4O_MINI, "openai")
        assert entry["asks_for_usage"] is (door.house is not None), "through the proxy, and only there, usage is asked for"
        assert all(chunk.usage is None for chunk in chunks)
        assert all(len(chunk.choices) == 1 for chunk in chunks), "the extra usage chunk must not reach who did not ask"
        assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) == 20
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_chat_stream_asked(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            chunks = list(
                client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=ASK,
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_headers=door.headers(call, "words=20, cached=5, gzip=1"),
                )
            )
        entry = door.check(call, GPT_4O_MINI, "openai")
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == entry["input_tokens"] + 20

    def test_chat_stream_byte_by_byte_and_gzip(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            stream = client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, stream=True, extra_headers=door.headers(call, "words=6, split=1, gzip=1")
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        door.check(call, GPT_4O_MINI, "openai")
        assert len(text.replace(".", " .").split()) == 6

    def test_two_choices(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            answer = client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, n=2, extra_headers=door.headers(call, "words=9")
            )
        assert len(answer.choices) == 2
        assert door.check(call, GPT_4O_MINI, "openai")["output_tokens"] == 2 * 9

    @pytest.mark.parametrize("is_stream", [False, True])
    def test_tool_call(self, door: Door, call: str, is_stream: bool) -> None:
        with openai_client(door) as client:
            asked: dict[str, Any] = {"model": "gpt-4o-mini", "messages": ASK, "tools": [TOOL], "extra_headers": door.headers(call)}
            if is_stream:
                with client.chat.completions.stream(**asked) as stream:
                    message = stream.get_final_completion().choices[0].message
            else:
                message = client.chat.completions.create(**asked).choices[0].message
        assert message.tool_calls
        function = message.tool_calls[0].function
        assert function.name == "road_weather"
        assert set(json.loads(function.arguments)) == {"city", "days"}
        door.check(call, GPT_4O_MINI, "openai")

    def test_responses(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            answer = client.responses.create(
                model="gpt-4o-mini", input=QUESTION, extra_headers=door.headers(call, "words=15, cached=2, reasoning=5")
            )
        entry = door.check(call, GPT_4O_MINI, "openai")
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (entry["input_tokens"], 20)
        assert answer.output_text.endswith((".", "e", "s", "n", "t", "r", "y"))

    def test_responses_stream(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            stream = client.responses.create(
                model="gpt-4o-mini", input=QUESTION, stream=True, extra_headers=door.headers(call, "words=15")
            )
            events = list(stream)
        entry = door.check(call, GPT_4O_MINI, "openai")
        assert [event.type for event in events].count("response.output_text.delta") == 15
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.usage is not None
        assert last.response.usage.input_tokens == entry["input_tokens"]

    def test_responses_tool_call(self, door: Door, call: str) -> None:
        tool = {"type": "function", "name": "road_weather", "parameters": TOOL_SCHEMA, "strict": False}
        with openai_client(door) as client:
            stream = client.responses.create(
                model="gpt-4o-mini", input=QUESTION, tools=[tool], stream=True, extra_headers=door.headers(call)
            )
            done = [event for event in stream if event.type == "response.function_call_arguments.done"]
        assert set(json.loads(done[0].arguments)) == {"city", "days"}
        door.check(call, GPT_4O_MINI, "openai")

    def test_embeddings(self, door: Door, call: str) -> None:
        """The SDK asks for base64 and unpacks it."""
        with openai_client(door) as client:
            answer = client.embeddings.create(
                model="text-embedding-3-small", input=["one lorry", "two lorries"], extra_headers=door.headers(call)
            )
        assert [len(one.embedding) for one in answer.data] == [8, 8]
        entry = door.check(call, EMBEDDING, "openai")
        assert answer.usage.prompt_tokens == entry["input_tokens"] == 2 * 2 + 2 * 3

    def test_completions(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            answer = client.completions.create(model="gpt-4o-mini", prompt=QUESTION, extra_headers=door.headers(call, "words=5"))
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        door.check(call, GPT_4O_MINI, "openai")

    def test_speech_and_transcription(self, door: Door, call: str) -> None:
        with openai_client(door) as client:
            speech = client.audio.speech.create(
                model="tts-1", voice="alloy", input=QUESTION, extra_headers=door.headers(f"{call}-speech")
            )
            sound = speech.read()
            text = client.audio.transcriptions.create(
                model="gpt-4o-mini-transcribe", file=("talk.mp3", sound), extra_headers=door.headers(call, "words=12")
            )
        assert len(sound) == 4099
        assert text.usage is not None
        assert text.usage.type == "tokens"
        assert text.usage.output_tokens == 12
        entry = door.entry(call)
        assert entry["model"] == "gpt-4o-mini-transcribe", "the form's model field must arrive"
        if door.house:
            record = door.house.records_when(1, session=call)[0]
            assert record["request_model"] == "gpt-4o-mini-transcribe"
            assert (record["input_tokens"], record["output_tokens"]) == (70, 12)

    def test_models(self, door: Door) -> None:
        """Lists are passed through and use nothing."""
        with openai_client(door) as client:
            assert "gpt-4o-mini" in [model.id for model in client.models.list()]

    async def test_async_client(self, door: Door, call: str) -> None:
        async with openai.AsyncOpenAI(base_url=door.at("openai", "/v1"), api_key=door.key) as client:
            stream = await client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, stream=True, extra_headers=door.headers(call, "words=8")
            )
            words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content]
        assert len(words) == 8
        door.check(call, GPT_4O_MINI, "openai")

    def test_only_the_base_url(self, door: Door, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the first page promises: OPENAI_BASE_URL and nothing else; `/v1` at the proxy is OpenAI's."""
        base = f"{door.house.url}/v1" if door.house else f"{door.provider.url}/v1"
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        monkeypatch.setenv("OPENAI_API_KEY", door.key)
        with openai.OpenAI() as client:
            client.chat.completions.create(model="gpt-4o-mini", messages=ASK, extra_headers=door.headers(call))
        door.check(call, GPT_4O_MINI, "openai")


class TestAnthropic:
    @staticmethod
    def client(door: Door) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=door.at("anthropic"), api_key=door.key, max_retries=0)

    def test_messages(self, door: Door, call: str) -> None:
        with self.client(door) as client:
            answer = client.messages.create(
                model="claude-haiku-4-5",
                max_tokens=200,
                system="You weigh lorries.",
                messages=ASK,
                extra_headers=door.headers(call, "words=18, cached=6, cache_write=3"),
            )
        entry = door.check(call, HAIKU, "anthropic")
        assert answer.usage.output_tokens == 18
        assert answer.usage.input_tokens == entry["input_tokens"] - 6 - 3, "Anthropic's own figure leaves both caches out"

    def test_messages_stream(self, door: Door, call: str) -> None:
        with (
            self.client(door) as client,
            client.messages.stream(
                model="claude-haiku-4-5", max_tokens=200, messages=ASK, extra_headers=door.headers(call, "words=25, cached=4")
            ) as stream,
        ):
            words = list(stream.text_stream)
            final = stream.get_final_message()
        door.check(call, HAIKU, "anthropic")
        assert len(words) == 25
        assert final.usage.output_tokens == 25
        assert final.stop_reason == "end_turn"

    @pytest.mark.parametrize("is_stream", [False, True])
    def test_tool_call(self, door: Door, call: str, is_stream: bool) -> None:
        tool: Any = {"name": "road_weather", "description": "Weather on the road", "input_schema": TOOL_SCHEMA}
        with self.client(door) as client:
            asked: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": ASK, "tools": [tool]}
            if is_stream:
                with client.messages.stream(**asked, extra_headers=door.headers(call)) as stream:
                    message = stream.get_final_message()
            else:
                message = client.messages.create(**asked, extra_headers=door.headers(call))
        assert message.stop_reason == "tool_use"
        assert set(message.content[0].input) == {"city", "days"}
        door.check(call, HAIKU, "anthropic")

    def test_max_tokens(self, door: Door, call: str) -> None:
        with self.client(door) as client:
            answer = client.messages.create(
                model="claude-haiku-4-5", max_tokens=7, messages=ASK, extra_headers=door.headers(call, "words=30")
            )
        assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 7)
        door.check(call, HAIKU, "anthropic")

    def test_count_tokens_uses_nothing(self, door: Door, call: str) -> None:
        with self.client(door) as client:
            counted = client.messages.count_tokens(model="claude-haiku-4-5", messages=ASK, extra_headers=door.headers(call))
        assert counted.input_tokens > 5
        if door.house:
            records = door.house.records_when(1, session=call)
            assert [record["input_tokens"] or 0 for record in records] == [0]
            assert [record["usage_source"] for record in records] == ["none"]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
class TestGemini:
    @staticmethod
    def client(door: Door, version: str, call: str, knobs: str) -> genai.Client:
        options = genai_types.HttpOptions(base_url=door.at("gemini"), api_version=version, headers=door.headers(call, knobs))
        return genai.Client(api_key=door.key, http_options=options)

    def test_generate(self, door: Door, call: str, version: str) -> None:
        with self.client(door, version, call, "words=14, reasoning=6, cached=3") as client:
            answer = client.models.generate_content(model="gemini-2.5-flash", contents=QUESTION)
        door.check(call, FLASH, "gemini")
        assert answer.usage_metadata is not None
        assert answer.usage_metadata.candidates_token_count == 14
        assert answer.usage_metadata.thoughts_token_count == 6

    def test_generate_stream(self, door: Door, call: str, version: str) -> None:
        with self.client(door, version, call, "words=14, reasoning=6") as client:
            chunks = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents=QUESTION))
        door.check(call, FLASH, "gemini")
        assert len(chunks) == 4
        assert chunks[-1].usage_metadata is not None
        assert chunks[-1].usage_metadata.candidates_token_count == 14

    def test_tool_call(self, door: Door, call: str, version: str) -> None:
        declared = genai_types.FunctionDeclaration(name="road_weather", description="Weather", parameters_json_schema=TOOL_SCHEMA)
        config = genai_types.GenerateContentConfig(
            tools=[genai_types.Tool(function_declarations=[declared])],
            automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
        )
        with self.client(door, version, call, "") as client:
            answer = client.models.generate_content(model="gemini-2.5-flash", contents=QUESTION, config=config)
        assert answer.function_calls
        assert answer.function_calls[0].name == "road_weather"
        door.check(call, FLASH, "gemini")


class TestMistral:
    @pytest.mark.parametrize("is_stream", [False, True])
    def test_chat(self, door: Door, call: str, is_stream: bool) -> None:
        with Mistral(api_key=door.key, server_url=door.at("mistral")) as client:
            asked: dict[str, Any] = {
                "model": "mistral-large-latest",
                "messages": ASK,
                "http_headers": door.headers(call, "words=11"),
            }
            if is_stream:
                with client.chat.stream(**asked) as stream:
                    usage = [event.data.usage for event in stream][-1]
            else:
                usage = client.chat.complete(**asked).usage
        door.check(call, MISTRAL, "mistral")
        assert usage.completion_tokens == 11

    def test_tool_call(self, door: Door, call: str) -> None:
        with Mistral(api_key=door.key, server_url=door.at("mistral")) as client:
            answer = client.chat.complete(model="mistral-large-latest", messages=ASK, tools=[TOOL], http_headers=door.headers(call))
        assert answer.choices[0].message.tool_calls[0].function.name == "road_weather"
        door.check(call, MISTRAL, "mistral")


class TestCohere:
    MODEL = "command-a-03-2025"

    @staticmethod
    @contextmanager
    def client(door: Door) -> Iterator[cohere.ClientV2]:
        with httpx.Client(timeout=30) as connections:
            yield cohere.ClientV2(api_key=door.key, base_url=door.at("cohere"), httpx_client=connections)

    def test_chat(self, door: Door, call: str) -> None:
        with self.client(door) as client:
            answer = client.chat(
                model=self.MODEL, messages=ASK, request_options={"additional_headers": door.headers(call, "words=13")}
            )
        entry = door.entry(call)
        door.check(call, COMMAND_A, "cohere", billed=(entry["input_tokens"] - 60, 13))
        assert answer.usage.billed_units.input_tokens == entry["input_tokens"] - 60

    def test_chat_stream(self, door: Door, call: str) -> None:
        options: Any = {"additional_headers": door.headers(call, "words=13")}
        with self.client(door) as client:
            events = list(client.chat_stream(model=self.MODEL, messages=ASK, request_options=options))
        entry = door.entry(call)
        door.check(call, COMMAND_A, "cohere", billed=(entry["input_tokens"] - 60, 13))
        assert [event.type for event in events].count("content-delta") == 13
        assert events[-1].delta.usage.tokens.output_tokens == 13

    def test_tool_call(self, door: Door, call: str) -> None:
        options: Any = {"additional_headers": door.headers(call)}
        with self.client(door) as client:
            answer = client.chat(model=self.MODEL, messages=ASK, tools=[TOOL], request_options=options)
        assert answer.message.tool_calls[0].function.name == "road_weather"
        entry = door.entry(call)
        door.check(call, COMMAND_A, "cohere", billed=(entry["input_tokens"] - 60, entry["output_tokens"]))

    def test_embed(self, door: Door, call: str) -> None:
        with self.client(door) as client:
            answer = client.embed(
                model="embed-v4.0",
                texts=["one lorry", "two lorries"],
                input_type="search_document",
                embedding_types=["float"],
                request_options={"additional_headers": door.headers(call)},
            )
        assert len(answer.embeddings.float_) == 2
        door.check(call, Price("0.12", "0"), "cohere")


class TestGroq:
    @pytest.mark.parametrize("is_stream", [False, True])
    def test_chat(self, door: Door, call: str, is_stream: bool) -> None:
        with groq.Groq(api_key=door.key, base_url=door.at("groq"), max_retries=0) as client:
            answer: Any = client.chat.completions.create(
                model="llama-3.3-70b-versatile", messages=ASK, stream=is_stream, extra_headers=door.headers(call, "words=10")
            )
            usage = (
                [chunk for chunk in answer if chunk.x_groq and chunk.x_groq.usage][-1].x_groq.usage if is_stream else answer.usage
            )
        door.check(call, GROQ_LLAMA, "groq")
        assert usage.completion_tokens == 10

    def test_tool_call(self, door: Door, call: str) -> None:
        with groq.Groq(api_key=door.key, base_url=door.at("groq"), max_retries=0) as client:
            answer = client.chat.completions.create(
                model="llama-3.3-70b-versatile", messages=ASK, tools=[TOOL], extra_headers=door.headers(call)
            )
        assert answer.choices[0].message.tool_calls[0].function.name == "road_weather"
        door.check(call, GROQ_LLAMA, "groq")


class TestTogether:
    MODEL = "meta-llama/Llama-3.3-70B-Instruct-Turbo"

    @pytest.mark.parametrize("is_stream", [False, True])
    def test_chat(self, door: Door, call: str, is_stream: bool) -> None:
        with together.Together(api_key=door.key, base_url=door.at("together"), max_retries=0) as client:
            answer: Any = client.chat.completions.create(
                model=self.MODEL, messages=ASK, stream=is_stream, extra_headers=door.headers(call, "words=10")
            )
            usage = [chunk.usage for chunk in answer if chunk.usage][-1] if is_stream else answer.usage
        door.check(call, TOGETHER_LLAMA, "together")
        assert usage.completion_tokens == 10

    def test_tool_call(self, door: Door, call: str) -> None:
        with together.Together(api_key=door.key, base_url=door.at("together"), max_retries=0) as client:
            answer = client.chat.completions.create(model=self.MODEL, messages=ASK, tools=[TOOL], extra_headers=door.headers(call))
        assert answer.choices[0].message.tool_calls[0].function.name == "road_weather"
        door.check(call, TOGETHER_LLAMA, "together")


class TestOllama:
    @staticmethod
    def client(door: Door, call: str, knobs: str) -> ollama.Client:
        key = {"authorization": f"Bearer {door.key}"} if door.house else {}
        return ollama.Client(host=door.at("ollama"), headers=door.headers(call, knobs) | key)

    @pytest.mark.parametrize("is_stream", [False, True])
    def test_chat(self, door: Door, call: str, is_stream: bool) -> None:
        with self.client(door, call, "words=12") as client:
            answer: Any = client.chat(model="llama3.2", messages=ASK, stream=is_stream)
            last = list(answer)[-1] if is_stream else answer
        entry = door.check(call, LOCAL_LLAMA, "ollama")
        assert (last.prompt_eval_count, last.eval_count) == (entry["input_tokens"], 12)

    def test_generate_stream(self, door: Door, call: str) -> None:
        with self.client(door, call, "words=12") as client:
            last = list(client.generate(model="llama3.2", prompt=QUESTION, stream=True))[-1]
        door.check(call, LOCAL_LLAMA, "ollama")
        assert last.eval_count == 12

    def test_tool_call(self, door: Door, call: str) -> None:
        with self.client(door, call, "") as client:
            answer = client.chat(model="llama3.2", messages=ASK, tools=[TOOL])
        assert answer.message.tool_calls
        assert answer.message.tool_calls[0].function.name == "road_weather"
        door.check(call, LOCAL_LLAMA, "ollama")


class TestLangchain:
    @staticmethod
    def model(door: Door, call: str, knobs: str) -> ChatOpenAI:
        return ChatOpenAI(
            model="gpt-4o-mini",
            base_url=door.at("openai", "/v1"),
            api_key=door.key,
            default_headers=door.headers(call, knobs),
            stream_usage=True,
            max_retries=0,
        )

    def test_invoke(self, door: Door, call: str) -> None:
        answer = self.model(door, call, "words=9").invoke(QUESTION)
        door.check(call, GPT_4O_MINI, "openai")
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["output_tokens"] == 9

    def test_stream(self, door: Door, call: str) -> None:
        chunks = list(self.model(door, call, "words=9").stream(QUESTION))
        door.check(call, GPT_4O_MINI, "openai")
        assert [chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata] == [9]

    def test_tool_call(self, door: Door, call: str) -> None:
        answer = self.model(door, call, "").bind_tools([TOOL]).invoke(QUESTION)
        assert answer.tool_calls[0]["name"] == "road_weather"
        door.check(call, GPT_4O_MINI, "openai")
