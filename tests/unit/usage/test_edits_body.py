"""The two edits of a request body, on bodies that try to mislead a scanner."""

from __future__ import annotations

import orjson
import pytest

from proxy.usage.edits import with_output_cap, with_usage_asked
from proxy.usage.output_caps import cap_paths


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"stream":true}', '{"stream":true,"stream_options":{"include_usage":true}}'),
        (' {"stream" : true }\n', ' {"stream" : true ,"stream_options":{"include_usage":true}}\n'),
        ('{"stream":true,"stream_options":{}}', '{"stream":true,"stream_options":{"include_usage":true}}'),
        ('{"stream_options":{ },"stream":true}', '{"stream_options":{ "include_usage":true},"stream":true}'),
        ('{"stream_options":null,"stream":true}', '{"stream_options":{"include_usage":true},"stream":true}'),
        (
            '{"stream_options": {"include_obfuscation": false}, "stream": true}',
            '{"stream_options": {"include_obfuscation": false,"include_usage":true}, "stream": true}',
        ),
        (
            '{"stream_options":{"a":{"b":["}"]}},"stream":true,"x":"\\"}"}',
            '{"stream_options":{"a":{"b":["}"]},"include_usage":true},"stream":true,"x":"\\"}"}',
        ),
        (
            '{"messages":[{"content":"\\",\\"stream_options\\":{}","stream_options":{}}],"stream":true}',
            '{"messages":[{"content":"\\",\\"stream_options\\":{}","stream_options":{}}],"stream":true,"stream_options":{"include_usage":true}}',
        ),
        ('{"s":"stream_options","stream":true}', '{"s":"stream_options","stream":true,"stream_options":{"include_usage":true}}'),
        ('{"stream\\u005foptions":{"a":1},"stream":true}', '{"stream\\u005foptions":{"a":1,"include_usage":true},"stream":true}'),
        (
            '{"stream_options":{"a":1},"stream":true,"stream_options":{"b":2}}',
            '{"stream_options":{"a":1},"stream":true,"stream_options":{"b":2,"include_usage":true}}',
        ),
        ('{"ü":"🙂\\\\","stream":true}', '{"ü":"🙂\\\\","stream":true,"stream_options":{"include_usage":true}}'),
    ],
)
def test_usage_is_asked_for_by_a_splice(before: str, after: str) -> None:
    assert with_usage_asked(before.encode()) == after.encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true,"stream_options":{"include_usage":false}}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":null}}',
        b'{"stream":true,"stream_options":{"include\\u005fusage":false}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"stream_options":"{}"}',
        b'{"stream":false}',
        b'{"stream":"true"}',
        b"{}",
        b"[]",
        b"",
        b'{"stream":true',
        b'{"stream":true,"x":NaN}',
        b'{"stream":true} x',
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_where_it_may_not_or_cannot_be_asked_nothing_is(body: bytes) -> None:
    assert with_usage_asked(body) is None


@pytest.mark.parametrize(
    ("api", "before", "after"),
    [
        ("openai.chat", '{"model":"gpt-4o","max_tokens": 500}', '{"model":"gpt-4o","max_tokens": 100}'),
        ("openai.chat", '{"max_tokens":50,"model":"gpt-4o"}', '{"max_tokens":50,"model":"gpt-4o"}'),
        ("openai.chat", '{"max_completion_tokens":500}', '{"max_completion_tokens":100}'),
        ("openai.chat", '{"max_tokens":500,"max_completion_tokens":600}', '{"max_tokens":100,"max_completion_tokens":100}'),
        ("openai.chat", '{"max_tokens":500,"max_tokens":600}', '{"max_tokens":100,"max_tokens":100}'),
        ("openai.chat", '{"max_tokens":null,"model":"llama"}', '{"max_tokens":100,"model":"llama"}'),
        ("openai.chat", '{"max_tokens":-1}', '{"max_tokens":100}'),
        ("openai.chat", '{"max_tokens":1e3}', '{"max_tokens":100}'),
        ("openai.chat", '{"model":"gpt-5-mini"}', '{"model":"gpt-5-mini","max_completion_tokens":100}'),
        ("openai.chat", '{"model":"openai/o3"}', '{"model":"openai/o3","max_completion_tokens":100}'),
        ("openai.chat", '{"model":"gpt-oss-120b"}', '{"model":"gpt-oss-120b","max_tokens":100}'),
        ("openai.chat", '{"model":"llama-3"}', '{"model":"llama-3","max_tokens":100}'),
        ("openai.chat", "{}", '{"max_tokens":100}'),
        (
            "openai.chat",
            '{"a":{"max_tokens":9999},"s":"\\"max_tokens\\":9"}',
            '{"a":{"max_tokens":9999},"s":"\\"max_tokens\\":9","max_tokens":100}',
        ),
        ("openai.completions", '{"prompt":"x"}', '{"prompt":"x","max_tokens":100}'),
        ("openai.responses", '{"input":"x"}', '{"input":"x","max_output_tokens":100}'),
        ("anthropic.messages", '{"max_tokens":1024}', '{"max_tokens":100}'),
        ("anthropic.complete", '{"max_tokens_to_sample":1024}', '{"max_tokens_to_sample":100}'),
        ("gemini.generate_content", '{"contents":[]}', '{"contents":[],"generationConfig":{"maxOutputTokens":100}}'),
        ("gemini.generate_content", '{"generationConfig":{}}', '{"generationConfig":{"maxOutputTokens":100}}'),
        ("gemini.generate_content", '{"generationConfig":null}', '{"generationConfig":{"maxOutputTokens":100}}'),
        (
            "gemini.generate_content",
            '{"generationConfig":{"temperature":1,"maxOutputTokens":"900"},"x":[]}',
            '{"generationConfig":{"temperature":1,"maxOutputTokens":100},"x":[]}',
        ),
        (
            "gemini.generate_content",
            '{"generationConfig":{"maxOutputTokens":"90"}}',
            '{"generationConfig":{"maxOutputTokens":"90"}}',
        ),
        (
            "gemini.generate_content",
            '{"generation_config":{"top_k":1}}',
            '{"generation_config":{"top_k":1,"max_output_tokens":100}}',
        ),
        ("bedrock.converse", '{"inferenceConfig":{"maxTokens":8000}}', '{"inferenceConfig":{"maxTokens":100}}'),
        ("bedrock.converse", '{"messages":[]}', '{"messages":[],"inferenceConfig":{"maxTokens":100}}'),
        ("bedrock.invoke", '{"anthropic_version":"b"}', '{"anthropic_version":"b","max_tokens":100}'),
        ("bedrock.invoke", '{"textGenerationConfig":{"maxTokenCount":800}}', '{"textGenerationConfig":{"maxTokenCount":100}}'),
        ("cohere.chat", '{"message":"x"}', '{"message":"x","max_tokens":100}'),
        ("ollama.chat", '{"options":{"num_predict":-1}}', '{"options":{"num_predict":100}}'),
        ("ollama.generate", '{"prompt":"x"}', '{"prompt":"x","options":{"num_predict":100}}'),
    ],
)
def test_a_cap_is_set_or_lowered_in_its_own_place(api: str, before: str, after: str) -> None:
    assert with_output_cap(before.encode(), api, 100) == after.encode()
    orjson.loads(after)


@pytest.mark.parametrize(
    ("api", "body", "cap"),
    [
        ("bedrock.invoke", b'{"inputText":"x"}', 100),
        ("openai.embeddings", b'{"input":"x"}', 100),
        ("unknown", b'{"x":1}', 100),
        ("vertex.predict", b'{"instances":[]}', 100),
        ("gemini.generate_content", b'{"generationConfig":7}', 100),
        ("openai.responses", b'{"input":"x"}', 15),
        ("anthropic.messages", b'{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":100}}', 100),
        ("openai.chat", b'{"model":"m"}', 0),
        ("openai.chat", b'{"model":"m",', 100),
        ("openai.chat", b'{"model":"m","t":NaN}', 100),
        ("openai.chat", b"[]", 100),
    ],
)
def test_a_cap_that_would_not_be_obeyed_is_not_set(api: str, body: bytes, cap: int) -> None:
    assert with_output_cap(body, api, cap) is None


def test_an_unknown_paths_own_cap_is_lowered_but_none_is_added() -> None:
    assert with_output_cap(b'{"max_new_tokens":900}', "unknown", 100) == b'{"max_new_tokens":100}'
    assert cap_paths({}, "unknown") == ()
