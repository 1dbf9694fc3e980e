"""OpenAI's other calls: embeddings, images, speech, transcription, moderations, the list of models."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Iterator

from proxy.demo.call import Call, Dialect, Frame, Json, sse
from proxy.demo.dialects.openai_chat import error_body, error_frame

DIMENSIONS = 8
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
"""One pixel."""
IMAGE_TOKENS = 272
MODELS = (
    "gpt-5.1",
    "gpt-5-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "o4-mini",
    "text-embedding-3-small",
    "gpt-image-1",
    "gpt-4o-mini-transcribe",
    "tts-1",
    "weighbridge-demo-1",
)


def vector(rng: random.Random, dimensions: int = DIMENSIONS) -> list[float]:
    return [round(rng.uniform(-1, 1), 6) for _ in range(dimensions)]


def embeddings_whole(call: Call) -> Json:
    asked = call.body.get("input")
    count = len(asked) if isinstance(asked, list) and asked and not isinstance(asked[0], int) else 1
    wants_base64 = call.body.get("encoding_format") == "base64"

    def one() -> list[float] | str:
        numbers = vector(call.rng)
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if wants_base64 else numbers

    body: Json = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one()} for index in range(count)],
        "model": call.response_model,
    }
    if call.knobs.usage:
        body["usage"] = {"prompt_tokens": call.entry.input_tokens, "total_tokens": call.entry.input_tokens}
    return body


def images_whole(call: Call) -> Json:
    """gpt-image: tokens; the output is the picture, so it has a fixed count and no words."""
    call.entry.output_tokens = IMAGE_TOKENS * call.choices
    body: Json = {"created": call.created, "data": [{"b64_json": base64.b64encode(PNG).decode()} for _ in range(call.choices)]}
    if call.model.startswith("gpt-image") and call.knobs.usage:
        body["usage"] = {
            "input_tokens": call.entry.input_tokens,
            "input_tokens_details": {"text_tokens": call.entry.input_tokens, "image_tokens": 0},
            "output_tokens": call.entry.output_tokens,
            "total_tokens": call.entry.input_tokens + call.entry.output_tokens,
        }
    return body


def speech_whole(call: Call) -> bytes:
    """Sound, no usage: what it costs stands in the request."""
    call.entry.input_tokens = call.entry.output_tokens = 0
    return b"ID3" + call.rng.randbytes(4096)


def transcription_whole(call: Call) -> Json:
    if not call.knobs.usage:
        return {"text": call.answer.text}
    if call.model.startswith("whisper"):
        call.entry.input_tokens = call.entry.output_tokens = 0
        return {"text": call.answer.text, "usage": {"type": "duration", "seconds": 7}}
    return {"text": call.answer.text, "usage": _transcription_usage(call)}


def _transcription_usage(call: Call) -> Json:
    call.entry.input_tokens = 70
    return {
        "type": "tokens",
        "input_tokens": call.entry.input_tokens,
        "input_token_details": {"text_tokens": 0, "audio_tokens": call.entry.input_tokens},
        "output_tokens": call.entry.output_tokens,
        "total_tokens": call.entry.input_tokens + call.entry.output_tokens,
    }


def transcription_frames(call: Call) -> Iterator[Frame]:
    for word in call.answer.words:
        yield Frame(sse({"type": "transcript.text.delta", "delta": word}), 1)
    done: Json = {"type": "transcript.text.done", "text": call.answer.text}
    if call.knobs.usage:
        done["usage"] = _transcription_usage(call)
    yield Frame(sse(done), 0, call.knobs.usage)


def moderations_whole(call: Call) -> Json:
    call.entry.input_tokens = 0
    categories = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(categories, False),
        "category_scores": dict.fromkeys(categories, 0.001),
        "category_applied_input_types": {name: ["text"] for name in categories},
    }
    return {"id": f"modr-{call.id}", "model": call.model or "omni-moderation-latest", "results": [result]}


def model_list(created: int) -> Json:
    return {"object": "list", "data": [{"id": name, "object": "model", "created": created, "owned_by": "demo"} for name in MODELS]}


EMBEDDINGS = Dialect("openai.embeddings", embeddings_whole, None, error_body, error_frame, has_output=False)
IMAGES = Dialect("openai.images", images_whole, None, error_body, error_frame)
SPEECH = Dialect("openai.audio", speech_whole, None, error_body, error_frame, whole_type="audio/mpeg", has_output=False)
TRANSCRIPTION = Dialect(
    "openai.audio",
    transcription_whole,
    transcription_frames,
    error_body,
    error_frame,
    is_stream=lambda body, path, query: str(body.get("stream")).lower() == "true",
)
MODERATIONS = Dialect("openai.moderations", moderations_whole, None, error_body, error_frame, has_output=False)
