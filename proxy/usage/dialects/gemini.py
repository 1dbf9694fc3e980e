"""Google: generateContent (Gemini API and Vertex; SSE, JSON array, one body), embeddings, interactions, Vertex predictions.

`usageMetadata` is on every chunk, cumulative: the last one with counts wins, and it may be lower than one before. Input is
prompt + tool use, output candidates + thoughts; a field that is absent counts 0. Interactions: the same with names of their own.
Source: googleapis/python-genai types.py; recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, first_count, mapping, mappings, modality_tokens, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import NO_UNITS, TokenUsage

_PROMPT_DETAILS = ("promptTokensDetails", "promptTokenDetails")
_COUNT_KEYS = ("promptTokenCount", "candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount", "totalTokenCount")


def read_usage_metadata(usage: Object) -> TokenUsage | None:
    """One `usageMetadata`; None where it has no counts (`{"trafficType": …}` alone)."""
    if first_count(usage, *_COUNT_KEYS) is None:
        return None
    prompt, tools = count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
    thoughts = count(usage.get("thoughtsTokenCount"))
    answers = first_count(usage, "candidatesTokenCount", "responseTokenCount")
    prompts = next((usage[key] for key in _PROMPT_DETAILS if key in usage), None)
    tool_details, cache_details = usage.get("toolUsePromptTokensDetails"), usage.get("cacheTokensDetails")
    answer_details = usage.get("candidatesTokensDetails") or usage.get("responseTokensDetails")
    return TokenUsage(
        input_tokens=(prompt or 0) + (tools or 0),
        output_tokens=(answers or 0) + (thoughts or 0),
        cache_read_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        input_audio_tokens=total((modality_tokens(prompts, "AUDIO"), modality_tokens(tool_details, "AUDIO"))),
        input_image_tokens=total(modality_tokens(of, kind) for of in (prompts, tool_details) for kind in ("IMAGE", "DOCUMENT")),
        output_audio_tokens=modality_tokens(answer_details, "AUDIO"),
        output_image_tokens=modality_tokens(answer_details, "IMAGE"),
        cache_read_audio_tokens=modality_tokens(cache_details, "AUDIO"),
        total_tokens=count(usage.get("totalTokenCount")),
        units=_token_units(prompts, cache_details, answer_details),
    )


def _token_units(prompts: object, cached: object, answers: object) -> Mapping[str, Decimal]:
    """Subsets that have no field of their own; a page of a document is an image to the model."""
    found = {
        "input_video_tokens": modality_tokens(prompts, "VIDEO"),
        "output_video_tokens": modality_tokens(answers, "VIDEO"),
        "cache_read_image_tokens": total((modality_tokens(cached, "IMAGE"), modality_tokens(cached, "DOCUMENT"))),
    }
    return {name: Decimal(value) for name, value in found.items() if value} or NO_UNITS


class GeminiContent:
    """`GenerateContentResponse`, whole or as chunks; also inside a `response` envelope (Code Assist)."""

    api = "gemini.generate_content"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By its members, whose names nobody else uses."""
        inner = mapping(event.get("response")) or event
        return any(key in inner for key in ("candidates", "usageMetadata", "promptFeedback", "modelVersion"))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, a chunk, or an error in the place of one."""
        found.error = error_text(event) or found.error
        event = mapping(event.get("response")) or event
        usage = mapping(event.get("usageMetadata"))
        tier = text(usage.get("serviceTier")) or text(usage.get("trafficType"))
        found.set_labels(text(event.get("modelVersion")), text(event.get("responseId")), tier)
        candidates = mappings(event.get("candidates"))
        if first_count(usage, *_COUNT_KEYS) is not None:
            found.report(read_usage_metadata, usage)
            found.is_placeholder = first_count(usage, "candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount") is None
        is_done = any(item.get("finishReason") for item in candidates) or "blockReason" in mapping(event.get("promptFeedback"))
        if is_done:
            found.is_final, found.is_placeholder = found.has_usage, False
        queries = sum(_queries(item) for item in candidates)
        if queries > found.units.get("web_searches", 0):
            found.units["web_searches"] = Decimal(queries)


def _queries(candidate: Object) -> int:
    """Searches of one candidate; the list is repeated in later chunks, so the largest counts."""
    queries = mapping(candidate.get("groundingMetadata")).get("webSearchQueries")
    return len(queries) if isinstance(queries, list) else 0


class GeminiEmbeddings:
    """`embedContent` and `batchEmbedContents`; older models report no usage at all."""

    api = "gemini.embed_content"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """Vectors under `values`, or any vectors with Google's usage object."""
        vectors = mappings(event.get("embeddings")) or mappings([event.get("embedding")])
        has_vectors = "embedding" in event or "embeddings" in event
        return any("values" in vector for vector in vectors) or (has_vectors and "usageMetadata" in event)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """The body is the only event."""
        found.usage = read_usage_metadata(mapping(event.get("usageMetadata")))
        found.set_labels(text(event.get("modelVersion")), None, None)
        found.is_final = True


class GeminiInteractions:
    """`interaction`, and the events of its stream. Work of agents goes on in the background and is billed when it is read."""

    api = "gemini.interactions"
    needles = (b'"interaction"', b'"usage"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the object's name, the event's type, or counts under names that nobody else uses."""
        kind = text(event.get("event_type")) or name
        if event.get("object") == "interaction" or kind.startswith(("interaction.", "interaction_")):
            return True
        return "total_input_tokens" in mapping(event.get("usage"))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A whole interaction, or an event."""
        is_whole = event.get("object") == "interaction" or "total_input_tokens" in mapping(event.get("usage"))
        interaction = event if is_whole else mapping(event.get("interaction"))
        found.error = error_text(event) or error_text(interaction) or found.error
        usage = mapping(interaction.get("usage")) or mapping(event.get("usage"))
        found.set_labels(text(interaction.get("model")), text(interaction.get("id")), text(interaction.get("service_tier")))
        if counts := _interaction_counts(usage):
            found.usage = counts
            searches = total(count(item.get("count")) for item in mappings(usage.get("grounding_tool_count")) if _is_search(item))
            if searches:
                found.units["web_searches"] = Decimal(searches)
        if not interaction:
            return
        status = interaction.get("status")
        found.is_pending = status in ("in_progress", "queued")
        is_background = interaction.get("background") is True or "agent" in interaction
        if found.usage and is_background and found.response_id:
            found.billing_key = f"interaction:{found.response_id}"
        if (text(event.get("event_type")) or name) in ("interaction.complete", "interaction.completed", "interaction.failed"):
            found.has_ended = True
            found.is_final = found.usage is not None


def _is_search(item: Object) -> bool:
    return "search" in (text(item.get("type")) or "").lower()


def _interaction_counts(usage: Object) -> TokenUsage | None:
    prompt, tools = count(usage.get("total_input_tokens")), count(usage.get("total_tool_use_tokens"))
    answer, thoughts = count(usage.get("total_output_tokens")), first_count(usage, "total_thought_tokens", "total_reasoning_tokens")
    if prompt is None and answer is None:
        return None
    inputs, outputs = usage.get("input_tokens_by_modality"), usage.get("output_tokens_by_modality")
    return TokenUsage(
        input_tokens=(prompt or 0) + (tools or 0),
        output_tokens=(answer or 0) + (thoughts or 0),
        cache_read_tokens=count(usage.get("total_cached_tokens")),
        reasoning_tokens=thoughts,
        input_audio_tokens=modality_tokens(inputs, "AUDIO", "tokens"),
        input_image_tokens=modality_tokens(inputs, "IMAGE", "tokens"),
        output_audio_tokens=modality_tokens(outputs, "AUDIO", "tokens"),
        output_image_tokens=modality_tokens(outputs, "IMAGE", "tokens"),
        total_tokens=count(usage.get("total_tokens")),
    )


class VertexPredict:
    """`:predict`: embeddings count tokens per prediction, texts in the metadata, images are counted one by one."""

    api = "vertex.predict"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the list's name; other providers' predictions are single objects."""
        return isinstance(event.get("predictions"), list)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """The body is the only event."""
        predictions = mappings(event.get("predictions"))
        tokens = total(count(mapping(mapping(item.get("embeddings")).get("statistics")).get("token_count")) for item in predictions)
        if tokens is not None:
            found.usage = TokenUsage(input_tokens=tokens, output_tokens=0, total_tokens=tokens)
        metadata = mapping(event.get("metadata"))
        counted = mapping(metadata.get("tokenMetadata"))
        if counted:
            prompt = count(mapping(counted.get("inputTokenCount")).get("totalTokens"))
            answer = count(mapping(counted.get("outputTokenCount")).get("totalTokens"))
            found.usage = TokenUsage(prompt, answer, total_tokens=total((prompt, answer)))
        characters = count(metadata.get("billableCharacterCount"))
        if characters:
            found.units["characters"] = Decimal(characters)
        images = sum("bytesBase64Encoded" in item for item in predictions)
        if images:
            found.units["images"] = Decimal(images)
        found.is_final = True
