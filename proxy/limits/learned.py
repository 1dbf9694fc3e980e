"""What one model's real counts have taught: a high quantile of what calls use, and the most they ever used.

Rules of this file: O(1) time and memory per sample, about a microsecond; deterministic; recent samples weigh more, so that a
model that changes its habits is followed. Maxima are kept over the last 1,024 to 2,048 samples: one odd call is forgotten in time.
"""

from __future__ import annotations

GENERATION = 1_024
"""Samples after which the older half of the maxima is forgotten."""
WARM_SAMPLES = 8
"""Below this many samples the largest one seen stands for the quantile."""
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

    @property
    def most_ratio(self) -> float:
        """Largest tokens per byte among recent requests that the bytes do bound."""
        return max(self._ratio, self._ratio_before)

    @property
    def most_hidden(self) -> int:
        """Largest number of tokens that came on top of a recent body."""
        return max(self._hidden, self._hidden_before)

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
        if ratio <= 1.0:
            if ratio > self._ratio:
                self._ratio = ratio
        else:
            # More tokens than bytes: a prompt was put in front. The body's own share was at least an eighth of its bytes.
            hidden = input_tokens - input_bytes // 8
            if hidden > self._hidden:
                self._hidden = hidden

    def learn_output(self, output_tokens: int, is_capped: bool) -> None:
        """One answer's size."""
        if output_tokens > self.most_output:
            self.most_output = output_tokens
        (self.capped_output if is_capped else self.free_output).learn(output_tokens)
