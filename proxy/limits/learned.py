"""What one model's real counts have taught: a high quantile of what calls use, and the most they ever used.

Rules of this file: O(1) time and memory per sample, about a microsecond; deterministic; recent samples weigh more, so that a
model that changes its habits is followed. Maxima are kept over the last 1,024 to 2,048 samples: one odd call is forgotten in time.
"""

from __future__ import annotations

from math import ceil

GENERATION = 1_024
"""Samples after which the older half of the maxima is forgotten."""
WARM_SAMPLES = 8
"""Below this many samples the largest one seen stands for the quantile."""
TIGHTEN_SAMPLES = 256
"""So many answers must have been seen before the bound on tokens per byte goes below one."""
TIGHTEN_MARGIN = 2.0
TIGHTEN_FLOOR = 0.25
HIDDEN_MARGIN = 1.25
_UP, _DOWN = 1.09, 0.99
"""One step of the quantile: nine parts up for a sample above it, one part down for one below, so that it rests where
one sample in ten is above."""


class Quantile:
    """About the 90th percentile of what was seen; 0 until something was."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def learn(self, seen: float) -> None:
        """Move towards the sample."""
        self.count += 1
        if self.count <= WARM_SAMPLES:
            if seen > self.value:
                self.value = seen
        elif seen > self.value:
            self.value = self.value * _UP if self.value > 0 else seen
        else:
            self.value *= _DOWN

    def estimate(self, default: float) -> float:
        """The quantile; not below the default while samples are few."""
        return self.value if self.count >= WARM_SAMPLES else max(self.value, default)


class Learned:
    """What one model taught."""

    __slots__ = (
        "_hidden",
        "_hidden_before",
        "_ratio",
        "_ratio_before",
        "bound_factor",
        "bound_hidden",
        "capped_output",
        "free_output",
        "input_ratio",
        "most_input",
        "most_output",
        "samples",
    )

    def __init__(self) -> None:
        self.samples = 0
        self.input_ratio = Quantile()
        """Input tokens per byte of the request."""
        self.free_output = Quantile()
        """Output tokens where the caller set no cap."""
        self.capped_output = Quantile()
        """Output tokens where the caller did."""
        self.most_input = 0
        self.most_output = 0
        self._ratio = self._ratio_before = 0.0
        self._hidden = self._hidden_before = 0
        self.bound_factor = 1.0
        """Tokens per byte that no request exceeds."""
        self.bound_hidden = 0
        """Tokens in front of a request that were never exceeded. Both are worked out when a maximum changes, which is rare, and
        not per request (2 µs)."""

    def learn_input(self, input_bytes: int, input_tokens: int, is_bounded: bool) -> None:
        """One request's size and count; unless `is_bounded`, it says nothing about what bytes can become."""
        if input_tokens > self.most_input:
            self.most_input = input_tokens
        if input_bytes <= 0:
            return
        ratio = input_tokens / input_bytes
        self.input_ratio.learn(ratio)
        if not is_bounded:
            return
        self.samples += 1
        if self.samples % GENERATION == 0:
            self._ratio_before, self._ratio = self._ratio, 0.0
            self._hidden_before, self._hidden = self._hidden, 0
            self._rebound()
        elif self.samples == TIGHTEN_SAMPLES:
            self._rebound()
        if ratio <= 1.0:
            if ratio > self._ratio:
                self._ratio = ratio
                self._rebound()
        else:
            # More tokens than bytes: a prompt was put in front. The body's own share was at least an eighth of its bytes.
            hidden = input_tokens - input_bytes // 8
            if hidden > self._hidden:
                self._hidden = hidden
                self._rebound()

    def learn_output(self, output_tokens: int, is_capped: bool) -> None:
        """One answer's size."""
        if output_tokens > self.most_output:
            self.most_output = output_tokens
        (self.capped_output if is_capped else self.free_output).learn(output_tokens)

    def _rebound(self) -> None:
        if self.samples >= TIGHTEN_SAMPLES:
            most_ratio = max(self._ratio, self._ratio_before)
            self.bound_factor = min(1.0, max(TIGHTEN_FLOOR, most_ratio * TIGHTEN_MARGIN))
        self.bound_hidden = ceil(max(self._hidden, self._hidden_before) * HIDDEN_MARGIN)
