"""What is the same for all calls of one caller to one model of one provider, worked out once.

Rules of this file: a plan belongs to one Rules and dies with it (rules.py remembers it), so that nothing in it can be out of date;
what differs from call to call (size, cap, what was learned, the moment) comes as an argument. Pure.
One look-up on the way of a request instead of a dozen: allow-list, price, limits, model limits, names, which modes there are.
Not here: what a mode holds (estimate.py), asking the store (relay/admission.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from proxy.limits.estimate import Estimator, Parts, parts_of, wanted_of
from proxy.limits.hidden_input import PLAIN, known_hidden_tokens
from proxy.limits.limit import Demand, Limit
from proxy.pricing.tariff import Tariff
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import NO_UNITS


@dataclass(frozen=True, slots=True)
class Plan:
    """One caller, one provider, one model."""

    model_key: str
    """What the estimator learns under."""
    is_allowed: bool
    """The model is on every allow-list that applies."""
    tariff: Tariff | None
    """None: no price is known."""
    limits: tuple[Limit, ...]
    """Every limit that a call must fit into."""
    max_output_tokens: int | None = None
    """Of the model; None: not known."""
    context_tokens: int | None = None
    has_strict: bool = field(init=False)
    """Some limit holds the worst case, so that the worst case is worked out."""
    known_hidden: int = field(init=False)
    _parts: Parts = field(init=False, repr=False)
    _needs_usual_cost: bool = field(init=False, repr=False)
    _needs_worst_cost: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        costs = [limit.mode for limit in self.limits if limit.resource == "cost_usd"] if self.tariff is not None else []
        worked_out: dict[str, object] = {
            "has_strict": any(limit.mode == "strict" for limit in self.limits),
            "known_hidden": known_hidden_tokens(self.model_key),
            "_parts": parts_of(self.limits),
            "_needs_usual_cost": "balanced" in costs,
            "_needs_worst_cost": "strict" in costs,
        }
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)

    def worst(self, estimator: Estimator, facts: RequestFacts, cap: int | None, hidden: int = PLAIN) -> tuple[int, int]:
        """(input, output) tokens that such a call cannot exceed.

        Args:
            cap: output_cap_of(facts), or another one.
            hidden: flags of hidden_input(facts.document).
        """
        return estimator.upper_bound(
            self.model_key,
            facts.input_bytes,
            cap,
            facts.choice_count,
            self.max_output_tokens,
            self.context_tokens,
            hidden=hidden,
            known_hidden=self.known_hidden,
        )

    def demands(
        self, estimator: Estimator, facts: RequestFacts, cap: int | None, usual: tuple[int, int], hidden: int, started_at: float
    ) -> list[Demand]:
        """What such a call asks of each limit, by its mode.

        Args:
            usual: Estimator.usual, by the caller's own cap.
            started_at: Unix seconds: the day whose prices count.
        """
        if cap is not None and cap * facts.choice_count < usual[1]:
            usual = (usual[0], cap * facts.choice_count)
        worst, usual_nano, worst_nano = usual, None, None
        if self.has_strict:
            worst = self.worst(estimator, facts, cap, hidden)
        if self.tariff is not None:
            if self._needs_usual_cost:
                usual_nano = self.tariff.usual_nano_usd(usual[0], usual[1], started_at=started_at)
            if self._needs_worst_cost:
                worst_nano = self.bound_nano_usd(worst[0], worst[1], started_at, facts.units)
        return wanted_of(self._parts, usual, worst, usual_nano, worst_nano)

    def bound_nano_usd(
        self, input_tokens: int, output_tokens: int, started_at: float, units: Mapping[str, Decimal] = NO_UNITS
    ) -> int:
        """The dearest that a call of at most so many tokens can cost, in nano-dollars; 0 where no price is known."""
        if self.tariff is None:
            return 0
        return self.tariff.upper_bound_nano_usd(input_tokens, output_tokens, started_at=started_at, units=units)
