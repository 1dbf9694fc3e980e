"""Anything else with a usage object in a known shape: tokens as OpenAI or Anthropic count them, pages, seconds, a cost.

The last resort of the registry, so that a new provider's answers are counted before anybody wrote a dialect for it.
"""

from __future__ import annotations

from decimal import Decimal

from proxy.usage.dialects import anthropic, openai_counts
from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, first_mapping, mapping, mappings, text
from proxy.usage.dialects.findings import Findings


class OtherUsage:
    """Objects of no known format that hold `usage`, `usage_info`, or `meta_info` (SGLang), or inside `result` (Cloudflare)."""

    api = ""
    """Not told by the bytes: the request's guess stands."""
    needles = (b'"usage', b'"meta_info"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """Any object with a usage object."""
        return bool(_usage(event))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or the last of several events."""
        usage = _usage(event)
        is_separate = "input_tokens" in usage and ("cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage)
        found.usage = (anthropic.read_counts(usage) if is_separate else openai_counts.read_counts(usage)) or found.usage
        found.cost_usd = openai_counts.read_cost_usd(usage) or found.cost_usd
        found.units.update(openai_counts.read_units(usage))
        pages = count(usage.get("pages_processed"))
        if pages:
            found.units["annotated_pages" if _is_annotated(event) else "pages"] = Decimal(pages)
        found.set_labels(text(event.get("model")), text(event.get("id")), openai_counts.read_service_tier(event, usage))
        found.error = error_text(event) or found.error


def _usage(event: Object) -> Object:
    return first_mapping(event, "usage", "usage_info", "meta_info") or mapping(mapping(event.get("result")).get("usage"))


def _is_annotated(event: Object) -> bool:
    """Mistral OCR: the answer to a request for annotations costs more a page."""
    if event.get("document_annotation"):
        return True
    return any(image.get("image_annotation") for page in mappings(event.get("pages")) for image in mappings(page.get("images")))
