"""Native APIs of model servers that do not speak OpenAI's: Text Generation Inference, llama.cpp, watsonx.ai text generation.

Each counts under names of its own. In their streams the counts run: the last one wins, but a 0 does not erase the input, which
watsonx names in one event only.
Source: TGI's OpenAPI (Details, StreamDetails), llama.cpp tools/server README (`/completion`), watsonx.ai API reference (text
generation), read 2026-11-29.
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, mapping, mappings, sequence, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import TokenUsage


class TextGenerationInference:
    """Hugging Face's `/generate` and `/generate_stream`; without details the counts stand in headers (header_counts.py)."""

    api = "huggingface.generate"
    needles = (b'"generated_tokens"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the token of a stream, or by the details of a body."""
        return "generated_tokens" in mapping(event.get("details")) or ("generated_text" in event and "token" in event)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event; the last one has the details."""
        found.error = error_text(event) or found.error
        details = mapping(event.get("details"))
        others = mappings(details.get("best_of_sequences"))
        output = total(count(one.get("generated_tokens")) for one in (details, *others))
        if output is None:
            return
        prefill = sequence(details.get("prefill"))
        input_tokens = count(details.get("input_length"))
        if input_tokens is None and prefill:
            input_tokens = len(prefill)
        found.usage = TokenUsage(input_tokens, output, total_tokens=total((input_tokens, output)))
        found.has_ended = found.is_final = True


class LlamaCpp:
    """llama.cpp's `/completion` and `/infill`: `tokens_evaluated` is the whole prompt, `timings.cache_n` what was reused of it."""

    api = "llamacpp.completion"
    needles = (b'"tokens_predicted"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the text beside the counters."""
        return "content" in event and ("tokens_predicted" in event or "tokens_evaluated" in event)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or a piece of a stream with running counts."""
        found.error = error_text(event) or found.error
        found.set_labels(text(event.get("model")), None, None)
        input_tokens, output = count(event.get("tokens_evaluated")), count(event.get("tokens_predicted"))
        if input_tokens is not None or output is not None:
            read = count(mapping(event.get("timings")).get("cache_n"))
            found.usage = TokenUsage(input_tokens, output, read, total_tokens=total((input_tokens, output)))
        if event.get("stop") is True:
            found.has_ended = found.is_final = True


class Watsonx:
    """IBM's `/ml/v1/text/generation` and `…_stream`, embeddings and reranking; its chat speaks OpenAI's format."""

    api = "watsonx.generate"
    needles = (b'"generated_token_count"', b'"error')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the counters of a result, or one for all of them."""
        results = mappings(event.get("results"))
        return bool(results) and ("input_token_count" in event or any("generated_token_count" in one for one in results))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event with running counts."""
        found.error = error_text(event) or found.error
        found.set_labels(text(event.get("model_id")), None, None)
        results = mappings(event.get("results"))
        if not results:
            return
        if "input_token_count" in event:
            found.api = "openai.embeddings" if "embedding" in results[0] else "openai.rerank"
            input_tokens = count(event.get("input_token_count"))
            found.usage, found.is_final = TokenUsage(input_tokens, 0, total_tokens=input_tokens), True
            return
        input_tokens = total(count(result.get("input_token_count")) for result in results)
        output = total(count(result.get("generated_token_count")) for result in results)
        before = found.usage
        if before is not None:
            input_tokens, output = input_tokens or before.input_tokens, output or before.output_tokens
        found.usage = TokenUsage(input_tokens, output, total_tokens=total((input_tokens, output)))
        reasons = [text(result.get("stop_reason")) for result in results]
        found.is_final = all(reason is not None and reason.lower() != "not_finished" for reason in reasons)
