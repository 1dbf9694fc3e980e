"""From what was found in an answer to a Reading: which counts are used, how far they can be trusted, what is missing.

Order of trust: the model's own usage, the transport's (Bedrock's metrics, then its headers), what the request itself fixes
(characters of a speech, images), an estimate. An estimate is made only for answers of text whose stream ended without usage or
that broke off; a whole single body without usage is reported as missing instead. A request that is not metered (reading an
answer again) used nothing, unless the answer has a billing key: then it is billed here, and by its key only once.
"""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.registry import GENERATING_APIS, REPORTING_APIS
from proxy.usage.output_estimate import BYTES_PER_TOKEN
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import Exactness, Reading, TokenUsage

_PATH_MODEL_APIS = ("gemini.", "vertex.", "bedrock.")
"""The path names the model, and bodies need not repeat it."""
_UNITS_FOR_TOKENS = ("images", "characters")
"""Where tokens are reported, tokens are billed, and these units are only another name for the same."""


class Ending(NamedTuple):
    """How the body ended. Tokens are the estimates to use where the answer never says."""

    is_complete: bool
    expected_input_tokens: int
    output_tokens: int
    has_text: bool


def tokens_of_unread(size_bytes: int) -> int:
    """Tokens in bytes that could not be read (a broken-off body, a damaged encoding): as if all were text."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def compose(
    facts: RequestFacts,
    status: int,
    found: Findings,
    api: str,
    header_usage: TokenUsage | None,
    blind_reason: str | None,
    ending: Ending | None = None,
) -> Reading:
    """The reading; without `ending` that of an answer still on its way."""
    is_success = 200 <= status < 300
    usage = found.usage or found.fallback_usage or header_usage
    if not facts.is_metered and found.billing_key is None:
        usage = None  # an answer that is stored, read again: what it used was billed when it was made
    exactness = _exactness(found, usage, ending)
    is_missing = False
    is_fixed = bool(ending and is_success and facts.is_metered and facts.units and not found.error)
    if usage is None and facts.is_metered and (found.units or found.cost_usd is not None or is_fixed):
        usage, exactness = TokenUsage(), Exactness.EXACT
    elif ending and is_success and facts.is_metered and not found.is_pending:
        is_missing = usage is None and not found.error and (api in REPORTING_APIS or blind_reason is not None)
        usage, exactness = _completed(usage, exactness, found, api, blind_reason, ending)
    has_path_model = facts.api.startswith(_PATH_MODEL_APIS) and status < 400
    return Reading(
        api=api,
        usage=_with_units(usage, found, facts, has_fixed=exactness is Exactness.EXACT and is_success and facts.is_metered),
        exactness=exactness,
        response_model=found.model or (facts.model if has_path_model else None),
        provider_response_id=found.response_id,
        service_tier=found.service_tier,
        reported_cost_usd=found.cost_usd if usage is not None else None,
        error=found.error,
        is_usage_missing=is_missing,
        billing_key=found.billing_key,
        also_used=found.also_used if usage is not None else (),
        blind_reason=blind_reason,
    )


def _exactness(found: Findings, usage: TokenUsage | None, ending: Ending | None) -> Exactness:
    if usage is None:
        return Exactness.NONE
    if found.usage is None:  # headers are final; so are metrics, which come last
        return Exactness.EXACT
    is_last = found.is_final or found.has_ended or (ending is not None and ending.is_complete)
    return Exactness.EXACT if is_last and not found.is_placeholder else Exactness.LOWER_BOUND


def _completed(
    usage: TokenUsage | None, exactness: Exactness, found: Findings, api: str, blind_reason: str | None, ending: Ending
) -> tuple[TokenUsage | None, Exactness]:
    """Estimates put where the answer says nothing."""
    is_text = api in GENERATING_APIS
    if exactness is Exactness.LOWER_BOUND and usage is not None:
        if not is_text or not (found.is_placeholder or usage.output_tokens is None):
            return usage, exactness
        output = max(usage.output_tokens or 0, ending.output_tokens)
        return usage._replace(output_tokens=output, total_tokens=(usage.input_tokens or 0) + output), exactness
    if usage is not None or (api not in REPORTING_APIS and blind_reason is None):
        return usage, exactness
    if found.error and not ending.has_text:
        return usage, exactness
    if ending.is_complete and not found.is_stream and blind_reason is None:
        return usage, exactness
    output = ending.output_tokens if is_text else 0
    total = ending.expected_input_tokens + output
    return TokenUsage(ending.expected_input_tokens, output, total_tokens=total), Exactness.ESTIMATED


def _with_units(usage: TokenUsage | None, found: Findings, facts: RequestFacts, has_fixed: bool) -> TokenUsage | None:
    """Units of the answer, and those that the request fixes where the answer has none; the total where it is not given."""
    if usage is None:
        return None
    has_tokens = usage.input_tokens is not None or usage.output_tokens is not None
    units: dict[str, Decimal] = dict(facts.units) if has_fixed and not has_tokens else {}
    units.update(usage.units)
    units.update(found.units)
    if has_tokens:
        for name in _UNITS_FOR_TOKENS:
            units.pop(name, None)
    if has_tokens and usage.total_tokens is None:
        usage = usage._replace(total_tokens=(usage.input_tokens or 0) + (usage.output_tokens or 0))
    return usage._replace(units=MappingProxyType(units)) if units else usage
