"""Embeddings and rerankings in OpenAI's shape: a list and a usage object; output is nothing, so 0.

Spoken by OpenAI, Azure, Mistral, Voyage (a total alone), OpenRouter and Perplexity (with cost), Together, llama.cpp, Ollama's /v1.
"""

from __future__ import annotations

from proxy.usage.dialects.fields import Object, mapping, mappings, text
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.openai_counts import has_counts, read_cost_usd, read_counts, read_service_tier


class OpenAIList:
    """A `data` or `results` list beside a usage object with input counts."""

    api = "openai.embeddings"
    needles = (b'tokens"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """A list of results, and usage beside it; images have such a list too, but count output."""
        usage = mapping(event.get("usage"))
        has_list = any(isinstance(event.get(key), list) for key in ("data", "results", "embeddings"))
        return has_list and has_counts(usage) and "output_tokens" not in usage

    def read(self, name: str, event: Object, found: Findings) -> None:
        """The body is the only event."""
        usage = mapping(event.get("usage"))
        if any("relevance_score" in item for item in (*mappings(event.get("results")), *mappings(event.get("data")))):
            found.api = "openai.rerank"
        counts = read_counts(usage)
        if counts is not None:
            found.usage = counts if counts.output_tokens is not None else counts._replace(output_tokens=0)
        found.cost_usd = read_cost_usd(usage)
        found.is_final = True
        found.set_labels(text(event.get("model")), text(event.get("id")), read_service_tier(event, usage))
