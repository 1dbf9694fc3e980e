"""Every path family of the providers' references, by what the path alone (or path and body) decides."""

from __future__ import annotations

import pytest

from proxy.usage.request_facts import body_kind, read_request

CHAT = b'{"model":"m","messages":[]}'
JSON = "application/json"


def read(path: str, body: bytes | None = CHAT, method: str = "POST", query: str = "", content_type: str = JSON):
    return read_request(method, path, query, content_type, body)


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", "openai.chat"),
        ("/chat/completions", "openai.chat"),
        ("//v1//chat/completions/", "openai.chat"),
        ("/openai/v1/chat/completions", "openai.chat"),
        ("/compatible-mode/v1/chat/completions", "openai.chat"),
        ("/api/coding/paas/v4/chat/completions", "openai.chat"),
        ("/novita/v3/openai/chat/completions", "openai.chat"),
        ("/v1beta/openai/chat/completions", "openai.chat"),
        ("/models/chat/completions", "openai.chat"),
        ("/V1/Chat/Completions", "openai.chat"),
        ("/v1/chat%2dx/../chat/completions", "openai.chat"),
        ("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", "openai.chat"),
        ("/v1/prompts/pp-1/completions", "openai.chat"),
        ("/v1/agents/completions", "openai.chat"),
        ("/v1/completions", "openai.completions"),
        ("/v1/engines/davinci/completions", "openai.completions"),
        ("/v1/fim/completions", "mistral.fim"),
        ("/v1/responses", "openai.responses"),
        ("/backend-api/codex/responses", "openai.responses"),
        ("/v1/responses/compact", "openai.responses"),
        ("/v1/embeddings", "openai.embeddings"),
        ("/api/v1/embeddings", "openai.embeddings"),
        ("/v1/images/generations", "openai.images"),
        ("/v1/images/edits", "openai.images"),
        ("/v1/audio/speech", "openai.audio"),
        ("/v1/audio/transcriptions", "openai.audio"),
        ("/v1/moderations", "openai.moderations"),
        ("/v1/videos", "openai.videos"),
        ("/v1/threads/runs", "openai.assistants"),
        ("/v1/threads/thread_1/runs", "openai.assistants"),
        ("/v1/threads/thread_1/runs/run_1/submit_tool_outputs", "openai.assistants"),
        ("/v1/batches", "openai.batches"),
        ("/v1/batches/batch_1/requests", "openai.batches"),
        ("/v1/fine_tuning/jobs", "openai.fine_tuning"),
        ("/v1/messages", "anthropic.messages"),
        ("/anthropic/v1/messages", "anthropic.messages"),
        ("/router/v2/anthropic/v1/messages", "anthropic.messages"),
        ("/v1/messages/batches", "anthropic.batches"),
        ("/v1/complete", "anthropic.complete"),
        ("/v1beta/interactions", "gemini.interactions"),
        ("/v1beta/cachedContents", "gemini.cached_contents"),
        ("/v1/chat", "cohere.chat"),
        ("/v2/chat", "cohere.chat"),
        ("/v2/embed", "cohere.embed"),
        ("/v1/rerank", "cohere.rerank"),
        ("/v1/generate", "cohere.generate"),
        ("/api/chat", "ollama.chat"),
        ("/api/generate", "ollama.generate"),
        ("/api/embed", "ollama.embed"),
        ("/api/embeddings", "ollama.embed"),
        ("/v1/ocr", "mistral.ocr"),
        ("/v1/predictions", "replicate.predictions"),
        ("/generate_stream", "huggingface.generate"),
        ("/completion", "llamacpp.completion"),
        ("/infill", "llamacpp.completion"),
        ("/ml/v1/text/generation", "watsonx.generate"),
        ("/ml/v1/text/generation_stream", "watsonx.generate"),
        ("/ml/v1/text/chat_stream", "openai.chat"),
        ("/v1/ai/language-model", "vercel.language_model"),
        ("/v1/some/new/call", "unknown"),
        ("/", "unknown"),
        ("/v1/messages/count_tokens/..", "anthropic.messages"),
    ],
)
def test_a_post_that_makes_work_is_metered(path: str, api: str) -> None:
    facts = read(path)
    assert (facts.api, facts.is_metered) == (api, True)
    assert body_kind("POST", path, JSON) == "json"


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/messages/count_tokens", "anthropic.count_tokens"),
        ("/v1/responses/input_tokens", "openai.count_tokens"),
        ("/v1beta/models/gemini-2.5-flash:countTokens", "gemini.count_tokens"),
        ("/v1/projects/p/locations/l/publishers/google/models/m:countTokens", "gemini.count_tokens"),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", "anthropic.count_tokens"),
        ("/model/anthropic.claude-v2%3A1/count-tokens", "bedrock.count_tokens"),
        ("/v1/files", "openai.files"),
        ("/v1/uploads/upload_1/parts", "openai.files"),
        ("/v1/vector_stores", "openai.files"),
        ("/v1/responses/resp_1/cancel", "openai.responses"),
        ("/v1/batches/batch_1/cancel", "openai.batches"),
        ("/v1/messages/batches/msgbatch_1/cancel", "anthropic.batches"),
        ("/v1/threads/thread_1/runs/run_1/cancel", "openai.assistants"),
        ("/v1/threads", "openai.assistants"),
        ("/v1/threads/thread_1/messages", "openai.assistants"),
        ("/v1/threads/thread_1/runs/run_1", "openai.assistants"),
        ("/v1/assistants", "openai.assistants"),
        ("/v1/assistants/asst_1", "openai.assistants"),
        ("/v1/chat/completions/chatcmpl-1", "openai.chat"),
        ("/v1/realtime/client_secrets", "openai.realtime"),
        ("/api/show", "ollama.models"),
        ("/api/blobs/sha256:00", "ollama.models"),
        ("/tokenize", "count_tokens"),
        ("/v1/tokenize-text", "count_tokens"),
    ],
)
def test_a_post_known_to_be_free_is_not_metered_and_its_body_is_not_read(path: str, api: str) -> None:
    facts = read(path)
    assert (facts.api, facts.is_metered) == (api, False)
    assert body_kind("POST", path, JSON) == "none"


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "OPTIONS", "PATCH", "PUT"])
@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/files/file-1/content", "/v1/batches", "/", "/v1/chat/completions", "/v1beta/models/m:generateContent"],
)
def test_other_methods_are_free(method: str, path: str) -> None:
    assert read(path, None, method).is_metered is False
    assert body_kind(method, path, JSON) == "none"


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/responses/resp_1", "openai.responses"),
        ("/v1/batches/batch_1", "openai.batches"),
        ("/v1/batches/batch_1/results", "openai.batches"),
        ("/v1/messages/batches/msgbatch_1/results", "anthropic.batches"),
        ("/v1/threads/thread_1/runs/run_1", "openai.assistants"),
        ("/v1beta/interactions/i1", "gemini.interactions"),
        ("/v1/predictions/p1", "replicate.predictions"),
    ],
)
def test_reading_a_stored_answer_is_free_but_may_show_usage(path: str, api: str) -> None:
    facts = read(path, None, "GET")
    assert (facts.api, facts.is_metered, facts.is_retrieval) == (api, False, True)


def test_a_stored_answer_can_be_streamed_again() -> None:
    assert read("/v1/responses/resp_1", None, "GET", "stream=true").is_stream is True
    assert read("/v1/responses/resp_1", None, "GET", "stream=false").is_stream is False


@pytest.mark.parametrize(
    ("path", "query", "api", "model"),
    [
        ("/v1/realtime", "model=gpt-realtime", "openai.realtime", "gpt-realtime"),
        ("/openai/realtime", "api-version=1&deployment=voice", "openai.realtime", "voice"),
        ("/v1/realtime", "", "openai.realtime", None),
        ("/v1/responses", "", "openai.responses", None),
        ("/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "key=k", "gemini.live", None),
        ("/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", "", "gemini.live", None),
    ],
)
def test_a_websocket_is_metered_from_its_get(path: str, query: str, api: str, model: str | None) -> None:
    facts = read(path, None, "GET", query, "")
    assert (facts.api, facts.is_metered, facts.is_stream, facts.model) == (api, True, True, model)


@pytest.mark.parametrize(
    ("path", "api", "model", "is_stream"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini.generate_content", "gemini-2.5-flash", False),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "gemini.generate_content", "gemini-2.5-flash", True),
        ("/v1beta/models/gemini-2.5-flash%3AstreamGenerateContent", "gemini.generate_content", "gemini-2.5-flash", True),
        ("/v1beta/tunedModels/mine-1:generateContent", "gemini.generate_content", "tunedModels/mine-1", False),
        ("/v1beta/models/text-embedding-004:batchEmbedContents", "gemini.embed_content", "text-embedding-004", False),
        (
            "/v1/projects/p/locations/l/publishers/google/models/gemini-1.5-pro:generateContent",
            "gemini.generate_content",
            "gemini-1.5-pro",
            False,
        ),
        ("/v1/projects/p/locations/l/endpoints/77:generateContent", "gemini.generate_content", "endpoints/77", False),
        (
            "/v1/projects/p/locations/l/publishers/google/models/text-embedding-004:predict",
            "vertex.predict",
            "text-embedding-004",
            False,
        ),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude-3-7-sonnet@20250219:streamRawPredict",
            "anthropic.messages",
            "claude-3-7-sonnet@20250219",
            True,
        ),
        ("/model/amazon.nova-lite-v1%3A0/converse", "bedrock.converse", "amazon.nova-lite-v1:0", False),
        ("/model/amazon.nova-lite-v1:0/converse-stream", "bedrock.converse", "amazon.nova-lite-v1:0", True),
        ("/model/amazon.titan-text-express-v1/invoke", "bedrock.invoke", "amazon.titan-text-express-v1", False),
        ("/model/anthropic.claude-v2/invoke-with-response-stream", "bedrock.invoke", "anthropic.claude-v2", True),
        (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse",
            "bedrock.converse",
            "arn:aws:bedrock:us-east-1:1:inference-profile/x",
            False,
        ),
        (
            "/model/arn:aws:bedrock:us-east-1:1:inference-profile/x/converse",
            "bedrock.converse",
            "arn:aws:bedrock:us-east-1:1:inference-profile/x",
            False,
        ),
    ],
)
def test_a_model_in_the_path_runs_whatever_the_body_says(path: str, api: str, model: str, is_stream: bool) -> None:
    facts = read(path, b'{"model":"another","contents":[]}')
    assert (facts.api, facts.is_metered, facts.model, facts.is_stream) == (api, True, model, is_stream)
    assert facts.deployment is None


def test_a_deployment_is_the_model_where_the_body_names_none() -> None:
    facts = read("/openai/deployments/my-gpt/chat/completions", b'{"messages":[]}', query="api-version=2024-06-01")
    assert (facts.api, facts.model, facts.deployment) == ("openai.chat", "my-gpt", None)


def test_a_deployment_beside_the_bodys_model_is_reported_too() -> None:
    facts = read("//openai/deployments/my-gpt/chat/completions", b'{"model":"gpt-4o-mini","messages":[]}')
    assert (facts.model, facts.deployment) == ("gpt-4o-mini", "my-gpt")


def test_other_models_in_paths() -> None:
    assert read("/models/HuggingFaceH4/zephyr-7b-beta", b'{"inputs":"x"}').model == "HuggingFaceH4/zephyr-7b-beta"
    assert read("/serving-endpoints/my-llama/invocations", b'{"messages":[]}').model == "my-llama"
    assert read("/ml/v1/text/chat", b'{"model_id":"ibm/granite-x","messages":[]}').model == "ibm/granite-x"


@pytest.mark.parametrize("path", ["/generate_stream", "/ml/v1/text/generation_stream", "/ml/v1/text/chat_stream"])
def test_paths_that_stream_whatever_the_body_says(path: str) -> None:
    assert read(path, b'{"inputs":"x"}').is_stream
    assert read("/v1/models/meta/llama-3/predictions", b'{"input":{}}').model == "meta/llama-3"
    assert read("/client/v4/accounts/a/ai/run/@cf/meta/llama-3", b"{}").model == "@cf/meta/llama-3"


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("multipart/form-data; boundary=x", "multipart"),
        ("Multipart/Form-Data; boundary=x", "multipart"),
        ("application/json", "json"),
        ("", "json"),
        ("application/x-www-form-urlencoded", "json"),
        ("audio/wav", "none"),
        ("application/sdp", "none"),
    ],
)
def test_body_kind_where_forms_are_taken(content_type: str, kind: str) -> None:
    assert body_kind("POST", "/v1/audio/transcriptions", content_type) == kind
    assert body_kind("POST", "/v1/unknown", content_type) == kind


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "text/plain", "application/octet-stream", "audio/wav", ""]
)
def test_a_wrong_label_does_not_hide_a_json_call(content_type: str) -> None:
    for path in ("/v1/chat/completions", "/api/generate", "/v1/messages", "/model/m/invoke"):
        assert body_kind("POST", path, content_type) == "json"
    assert read("/api/generate", b'{"model":"llama3"}', content_type=content_type).model == "llama3"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "/..",
        "/%",
        "/%zz/%2",
        "/:generateContent",
        "/model",
        "/model/x",
        "/models/",
        "/cancel",
        "/v1/%2e%2e/%2e%2e",
        "/\udcff",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "", "weird"])
@pytest.mark.parametrize("body", [None, b"", b"x", b"[]", b"{}", b'{"model":3,"stream":"yes","messages":{"a":1}}'])
def test_nothing_raises(method: str, path: str, body: bytes | None) -> None:
    body_kind(method, path, "\udcff")
    facts = read_request(method, path, "&&=%", "multipart/", body)
    assert facts.model in (None, "x"), facts
