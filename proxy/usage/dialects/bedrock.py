"""Amazon Bedrock: Converse (also the bodies of Amazon Nova under InvokeModel), and models that InvokeModel passes through natively.

Converse reports cache reads and writes beside `inputTokens`, so that all are added up. Under InvokeModel a model's own usage counts
first; then, in streams, `amazon-bedrock-invocationMetrics` of the last chunk; for single bodies the `x-amzn-bedrock-*-token-count`
headers (the meter reads these). Counters in native stream chunks (Titan, Llama) are not read: they are per chunk, and Titan fills
them for a prompt that a guardrail blocked, which no model ever saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, first_count, mapping, mappings, sequence, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import TokenUsage

METRICS = "amazon-bedrock-invocationMetrics"
_HEADER = b"x-amzn-bedrock-"
_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")


def read_metrics(event: Object, found: Findings) -> None:
    """The last chunk of an InvokeModel stream, whatever the model inside speaks: counts to fall back on, and the end."""
    metrics = mapping(event.get(METRICS))
    usage = _separate(metrics, "inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
    if usage:
        found.fallback_usage = usage
        found.has_ended = found.is_final = True


def read_headers(headers: Mapping[bytes, bytes]) -> TokenUsage | None:
    """Counts in the response headers of InvokeModel (lower-case names); None where there are none."""
    names = ("input", "output", "cache-read-input", "cache-write-input")
    counts: dict[str, object] = {
        name: headers.get(_HEADER + name.encode() + b"-token-count", b"").decode("latin-1") for name in names
    }
    return _separate(counts, *names)


class BedrockConverse:
    """The body of Converse, and its events: named by the frame on ConverseStream, by their only member under InvokeModel."""

    api = "bedrock.converse"
    needles = (b'"usage"', METRICS.encode(), b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the event's name, or by the usage object and what is beside it."""
        if name in _EVENTS or any(key in event for key in _EVENTS[:-1]):
            return True
        usage = mapping(event.get("usage")) or mapping(mapping(event.get("metadata")).get("usage"))
        return "inputTokens" in usage or "message" in mapping(event.get("output"))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event; `metadata` is the last one."""
        metadata = mapping(event.get("metadata")) or event
        usage = mapping(metadata.get("usage"))
        counts = _separate(
            usage,
            "inputTokens",
            "outputTokens",
            ("cacheReadInputTokens", "cacheReadInputTokenCount"),
            ("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        )
        if counts:
            found.usage = _with_hour_writes(counts, usage)
            found.is_final = True
            found.has_ended = name == "metadata"
        tier = mapping(metadata.get("serviceTier")).get("type") or metadata.get("serviceTier")
        found.set_labels(None, None, text(tier))
        found.error = error_text(event) or found.error


def _with_hour_writes(counts: TokenUsage, usage: Object) -> TokenUsage:
    hour = total(count(item.get("inputTokens")) for item in mappings(usage.get("cacheDetails")) if item.get("ttl") == "1h")
    if hour is None:
        return counts
    return TokenUsage(
        input_tokens=counts.input_tokens,
        output_tokens=counts.output_tokens,
        cache_read_tokens=counts.cache_read_tokens,
        cache_write_tokens=counts.cache_write_tokens,
        cache_write_1h_tokens=min(hour, counts.cache_write_tokens or 0),
        total_tokens=counts.total_tokens,
    )


def _separate(
    source: Object, plain: str, output: str, read: str | tuple[str, ...], write: str | tuple[str, ...]
) -> TokenUsage | None:
    """Counts of which the input leaves the cache out; None where neither input nor output is there."""
    plain_tokens, output_tokens = count(source.get(plain)), count(source.get(output))
    if plain_tokens is None and output_tokens is None:
        return None
    read_tokens = first_count(source, *((read,) if isinstance(read, str) else read))
    write_tokens = first_count(source, *((write,) if isinstance(write, str) else write))
    input_tokens = total((plain_tokens, read_tokens, write_tokens))
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=read_tokens,
        cache_write_tokens=write_tokens,
        total_tokens=count(source.get("totalTokens")) or total((input_tokens, output_tokens)),
    )


class BedrockNative:
    """Titan, Llama, Jurassic, and other bodies that only InvokeModel has."""

    api = "bedrock.invoke"
    needles = (METRICS.encode(), b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By each family's own members."""
        if any(key in event for key in ("inputTextTokenCount", "generation_token_count", METRICS, "outputText")):
            return True
        if _images(event):
            return True
        return "completions" in event and isinstance(mapping(event.get("prompt")).get("tokens"), list)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body; chunks of streams only count by the metrics, which the meter reads."""
        found.error = error_text(event) or found.error
        if found.is_stream:
            return
        if "completions" in event:  # Jurassic lists its tokens one by one
            answers = [sequence(mapping(item.get("data")).get("tokens")) for item in mappings(event.get("completions"))]
            prompt = sequence(mapping(event.get("prompt")).get("tokens"))
            input_tokens: int | None = len(prompt)
            output_tokens: int | None = sum(map(len, answers))
        else:
            input_tokens = first_count(event, "inputTextTokenCount", "prompt_token_count")
            output_tokens = count(event.get("generation_token_count"))
            if "results" in event:
                output_tokens = total(count(item.get("tokenCount")) for item in mappings(event.get("results")))
            elif "embedding" in event or "embeddingsByType" in event:
                output_tokens = 0
        if input_tokens is not None or output_tokens is not None:
            found.usage = TokenUsage(input_tokens, output_tokens, total_tokens=total((input_tokens, output_tokens)))
            found.is_final = True
        if images := _images(event):
            found.units["images"] = Decimal(images)


def _images(event: Object) -> int:
    """Pictures in base64: a list of texts (Titan, Nova Canvas, Stability) or of artifacts (Stable Diffusion XL)."""
    images = sequence(event.get("images"))
    if images and ("error" in event or "finish_reasons" in event) and all(isinstance(image, str) for image in images):
        return len(images)
    return sum("base64" in artifact for artifact in mappings(event.get("artifacts"))) if "result" in event else 0
