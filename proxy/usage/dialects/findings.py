"""What the events of one answer have said so far: filled in by dialects, turned into a Reading by the meter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from proxy.usage.tokens import TokenUsage

Reader = Callable[[Mapping[str, object]], TokenUsage | None]


class Findings:
    """Mutable; one per answer. Dialects set what they read and leave the rest alone."""

    __slots__ = (
        "_reader",
        "_usage",
        "_usage_object",
        "also_used",
        "api",
        "billing_key",
        "cost_usd",
        "error",
        "fallback_usage",
        "has_ended",
        "is_final",
        "is_pending",
        "is_placeholder",
        "is_stream",
        "model",
        "response_id",
        "service_tier",
        "units",
    )

    def __init__(self, is_stream: bool = False) -> None:
        self.is_stream = is_stream
        """The events come from a stream (set by the meter before the first one)."""
        self.api: str | None = None
        self.fallback_usage: TokenUsage | None = None
        """Counts of the transport around the model (Bedrock's invocation metrics): used where the model reports none."""
        self.is_final = False
        """The usage in hand is the last one; nothing that follows can raise it."""
        self.is_placeholder = False
        """Input is known, output is only a placeholder so far (Anthropic's `message_start`)."""
        self.has_ended = False
        """The format's terminal event was seen."""
        self.is_pending = False
        """The work goes on behind this answer (background responses, batches): no usage yet, and none is missing."""
        self.model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self.cost_usd: Decimal | None = None
        self.error: str | None = None
        self.billing_key: str | None = None
        self.also_used: tuple[tuple[str, TokenUsage], ...] = ()
        self.units: dict[str, Decimal] = {}
        self._usage: TokenUsage | None = None
        self._usage_object: Mapping[str, object] = {}
        self._reader: Reader | None = None

    @property
    def usage(self) -> TokenUsage | None:
        """The last usage that the model reported."""
        if self._reader is not None:
            self._usage, self._reader = self._reader(self._usage_object), None
        return self._usage

    @usage.setter
    def usage(self, usage: TokenUsage | None) -> None:
        self._usage, self._reader = usage, None

    @property
    def has_usage(self) -> bool:
        """Whether there is one, without reading it."""
        return self._usage is not None or self._reader is not None

    def report(self, reader: Reader, usage: Mapping[str, object]) -> None:
        """Keep a usage object unread: where every event carries one, only the last is worth the microseconds.

        Args:
            reader: makes counts of it, when they are asked for.
            usage: holds at least one count (the caller has looked).
        """
        self._usage_object, self._reader = usage, reader

    def set_labels(self, model: str | None, response_id: str | None, service_tier: str | None) -> None:
        """Keep the last of each that is not empty."""
        self.model = model or self.model
        self.response_id = response_id or self.response_id
        self.service_tier = service_tier or self.service_tier
