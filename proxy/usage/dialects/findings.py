"""What the events of one answer have said so far: filled in by dialects, turned into a Reading by the meter."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from proxy.usage.tokens import TokenUsage


@dataclass(slots=True)
class Findings:
    """Mutable; one per answer. Dialects set what they read and leave the rest alone."""

    is_stream: bool = False
    """The events come from a stream (set by the meter before the first one)."""
    api: str | None = None
    usage: TokenUsage | None = None
    fallback_usage: TokenUsage | None = None
    """Counts of the transport around the model (Bedrock's invocation metrics): used where the model itself reports none."""
    is_final: bool = False
    """The usage in hand is the last one; nothing that follows can raise it."""
    is_placeholder: bool = False
    """Input is known, output is only a placeholder so far (Anthropic's `message_start`)."""
    has_ended: bool = False
    """The format's terminal event was seen."""
    is_pending: bool = False
    """The work goes on behind this answer (background responses, batches): no usage yet, and none is missing."""
    model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    billing_key: str | None = None
    also_used: tuple[tuple[str, TokenUsage], ...] = ()
    units: dict[str, Decimal] = field(default_factory=dict)

    def set_labels(self, model: str | None, response_id: str | None, service_tier: str | None) -> None:
        """Keep the last of each that is not empty."""
        self.model = model or self.model
        self.response_id = response_id or self.response_id
        self.service_tier = service_tier or self.service_tier
