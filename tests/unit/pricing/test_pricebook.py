"""The pricebook: finding tariffs by the names models go by, the operator's prices, whole readings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from proxy.errors import ConfigError
from proxy.pricing.cost import Cost
from proxy.pricing.fields import OVERRIDE_FIELDS, RATES
from proxy.pricing.price_data import PriceData
from proxy.pricing.pricebook import MEMO_SIZE, ModelLimits, Pricebook, build_pricebook
from proxy.usage.tokens import Exactness, Reading, TokenUsage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
USAGE = TokenUsage(input_tokens=1_000, output_tokens=100)


def mtok(rate: str, tokens: int) -> Decimal:
    return Decimal(rate) * tokens / 1_000_000


def reading(
    usage: TokenUsage | None = USAGE,
    *,
    api: str = "openai.chat",
    service_tier: str | None = None,
    billing_key: str | None = None,
    is_usage_missing: bool = False,
    also_used: tuple[tuple[str, TokenUsage], ...] = (),
) -> Reading:
    return Reading(
        api,
        usage,
        Exactness.EXACT,
        service_tier=service_tier,
        billing_key=billing_key,
        is_usage_missing=is_usage_missing,
        also_used=also_used,
    )


def named(book: Pricebook, provider: str, model: str) -> str | None:
    found = book.tariff(provider, provider, model)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("openai", "GPT-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-mini-20240718", "openai/gpt-4o-mini"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org::abc", "openai/ft:gpt-4o-mini"),
        ("openai", "ft:gpt-4o-mini:org::abc", "openai/ft:gpt-4o-mini"),
        ("azure", "gpt-4o", "openai/gpt-4o"),
        ("azure", "phi-4", "azure/phi-4"),
        ("azure-openai", "phi-4", "azure/phi-4"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gemini", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("vertex", "publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("vertex", "claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("bedrock", "amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("openrouter", "nobody/gpt-4o", None),
        ("xai", "grok-4-0709", "x-ai/grok-4-0709"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("cerebras", "gpt-oss-120b", "cerebras/gpt-oss-120b"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("mistral", "mistral-large-2411", "mistral/mistral-large"),
        ("cohere", "command-a-03-2025", "cohere/command-a"),
        ("perplexity", "sonar", "perplexity/sonar"),
        ("deepseek", "deepseek-chat", "deepseek/deepseek-chat"),
        ("vercel-gateway", "openai/gpt-4o", "openai/gpt-4o"),
        ("vercel-gateway", "google/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("litellm", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("huggingface", "meta-llama/Llama-3.1-8B-Instruct", None),
        ("huggingface", "meta-llama/Llama-3.3-70B-Instruct:groq", "huggingface_groq/meta-llama/Llama-3.3-70B-Instruct"),
        ("ollama", "llama3", None),
        ("openai", "dall-e-3", None),
        ("openai", "", None),
        ("openai", "x" * 100_000, None),
        ("bedrock", "us.anthropic.", None),
    ],
)
def test_models_are_found_by_every_name_they_go_by(pricebook: Pricebook, provider: str, model: str, name: str | None) -> None:
    assert named(pricebook, provider, model) == name


def test_found_once_and_then_remembered(price_data: PriceData) -> None:
    book = build_pricebook({}, price_data)
    first = book.tariff("openai", "openai", "gpt-4o-2024-08-06")
    assert first is book.tariff("openai", "openai", "gpt-4o-2024-08-06")
    assert first is book.tariff("openai", "openai", "gpt-4o-2024-11-20")
    for number in range(MEMO_SIZE + 10):
        book.tariff("ollama", "ollama", f"made-up-{number}")
    assert len(book._tariffs) <= MEMO_SIZE


def test_a_reading_costs_what_the_list_says(pricebook: Pricebook) -> None:
    cost = pricebook.cost("openai", "openai", "gpt-4o-2024-08-06", reading(), NOON)
    assert cost == Cost(mtok("2.5", 1_000), mtok("10", 100), mtok("2.5", 1_000) + mtok("10", 100), pricebook.source)
    assert pricebook.source.startswith("genai-prices ")


def test_batches_are_recognised_by_api_and_by_billing_key(pricebook: Pricebook) -> None:
    half = mtok("1", 1_000) + mtok("4", 100)
    at = {"provider": "openai", "price_provider": "openai", "model": "o3", "started_at": NOON}
    assert pricebook.cost(**at, reading=reading()).cost_usd == 2 * half  # type: ignore[arg-type]
    assert pricebook.cost(**at, reading=reading(api="openai.batches")).cost_usd == half  # type: ignore[arg-type]
    assert pricebook.cost(**at, reading=reading(billing_key="batch:b1")).cost_usd == half  # type: ignore[arg-type]
    assert pricebook.cost(**at, reading=reading(billing_key="response:r1")).cost_usd == 2 * half  # type: ignore[arg-type]
    assert pricebook.cost(**at, reading=reading(service_tier="flex")).cost_usd == half  # type: ignore[arg-type]


def test_a_fall_back_providers_tiers_are_not_ours(pricebook: Pricebook) -> None:
    standard = pricebook.cost("azure", "azure", "gpt-4.1-nano", reading(), NOON)
    assert pricebook.cost("azure", "azure", "gpt-4.1-nano", reading(service_tier="priority"), NOON) == standard
    assert pricebook.cost("openai", "openai", "gpt-4.1-nano", reading(service_tier="priority"), NOON) != standard


def test_an_unknown_model_is_unknown_and_says_so(pricebook: Pricebook) -> None:
    assert pricebook.cost("mine", "ollama", "llama3", reading(), NOON) == Cost(None, None, None, "unknown model: mine/llama3")
    assert pricebook.cost("mine", "ollama", None, reading(), NOON).source == "unknown model: mine (no model named)"
    assert pricebook.cost("mine", "ollama", None, reading(), NOON, fallback_model="m").source == "unknown model: mine/m"
    assert len(str(pricebook.cost("mine", "ollama", "x" * 100_000, reading(), NOON).source)) < 600


def test_nothing_to_price_and_usage_that_is_missing(pricebook: Pricebook) -> None:
    assert pricebook.cost("openai", "openai", "gpt-4o", reading(None), NOON) == Cost(None, None, None, None)
    missing = pricebook.cost("openai", "openai", "gpt-4o", reading(None, is_usage_missing=True), NOON)
    assert missing == Cost(None, None, None, "no usage reported")


def test_other_models_in_the_answer_are_priced_by_their_own_tariff(pricebook: Pricebook) -> None:
    own = mtok("3", 1_000) + mtok("15", 100)
    advisor = (("claude-opus-4-1", TokenUsage(input_tokens=200, output_tokens=10)),)
    cost = pricebook.cost("anthropic", "anthropic", "claude-sonnet-4-20250514", reading(also_used=advisor), NOON)
    assert cost.cost_usd == own + mtok("15", 200) + mtok("75", 10)
    assert cost.source == pricebook.source
    stranger = (("claude-unheard-of", TokenUsage(input_tokens=1, output_tokens=1)),)
    unknown = pricebook.cost("anthropic", "anthropic", "claude-sonnet-4-20250514", reading(also_used=stranger), NOON)
    assert unknown == Cost(None, None, None, "unknown model: anthropic/claude-unheard-of")


def priced(
    prices: Mapping[str, object], data: PriceData, model: str | None, fallback: str | None = None, usage: TokenUsage = USAGE
) -> Cost:
    book = build_pricebook({"openai": prices}, data)
    return book.cost("openai", "openai", model, reading(usage), NOON, fallback_model=fallback)


def test_an_override_replaces_the_built_in_tariff_whole(price_data: PriceData) -> None:
    mine = {"gpt-4o": {"input_mtok": Decimal("0.15"), "output_mtok": 0.6}}
    usage = TokenUsage(input_tokens=1_000, cache_read_tokens=400, output_tokens=100)
    cost = priced(mine, price_data, "gpt-4o", usage=usage)
    assert cost == Cost(mtok("0.15", 1_000), mtok("0.6", 100), mtok("0.15", 1_000) + mtok("0.6", 100), "prices.yaml")


def test_an_override_for_either_name_comes_before_the_list(price_data: PriceData) -> None:
    mine = {"gpt-4o": {"input_mtok": 1, "output_mtok": 1}, "my-deployment": {"input_mtok": 2, "output_mtok": 2}}
    assert priced(mine, price_data, "gpt-4o-2024-08-06", "gpt-4o").source == "prices.yaml"
    assert priced(mine, price_data, "gpt-4o-2024-08-06").cost_usd == mtok("1", 1_100)
    assert priced(mine, price_data, "gpt-4o-mini-2024-07-18", "My-Deployment").cost_usd == mtok("2", 1_100)
    assert priced(mine, price_data, "gpt-4o-mini-2024-07-18", "gpt-4o-mini").source == price_data.source


def test_exact_before_undated_before_the_longest_pattern(price_data: PriceData) -> None:
    mine = {
        "*": {"input_mtok": 1, "output_mtok": 1},
        "gpt-4*": {"input_mtok": 2, "output_mtok": 2},
        "gpt-4o-*": {"input_mtok": 3, "output_mtok": 3},
        "gpt-4o-mini": {"input_mtok": 4, "output_mtok": 4},
        "gpt-4o-mini-2024-07-18": {"input_mtok": 5, "output_mtok": 5},
    }
    models = [None, "llama", "gpt-4.1", "gpt-4o-x", "gpt-4o-mini", "gpt-4o-mini-2025-01-01", "gpt-4o-mini-2024-07-18"]
    assert [priced(mine, price_data, model).cost_usd for model in models] == [mtok(rate, 1_100) for rate in "1123445"]


def test_zero_in_an_override_is_free(price_data: PriceData) -> None:
    book = build_pricebook({"local": {"*": {"input_mtok": 0, "output_mtok": 0}}}, price_data)
    assert book.cost("local", "ollama", "anything", reading(), NOON) == Cost(Decimal(0), Decimal(0), Decimal(0), "prices.yaml")


def test_overrides_belong_to_the_configured_provider_or_to_all(price_data: PriceData) -> None:
    book = build_pricebook({"a": {"m": {"input_mtok": 1}}, "*": {"m": {"input_mtok": 2}, "n": {"input_mtok": 3}}}, price_data)
    usage = TokenUsage(input_tokens=1_000_000)
    costs = [book.cost(p, "ollama", m, reading(usage), NOON).cost_usd for p, m in (("a", "m"), ("b", "m"), ("a", "n"))]
    assert costs == [1, 2, 3]


def test_tiers_by_length_and_service_tiers_in_an_override(price_data: PriceData) -> None:
    mine = {
        "m": {
            "input_mtok": {"base": 1, "tiers": [{"start": 200_000, "price": "2"}]},
            "output_mtok": 10,
            "service_tiers": {"flex": {"output_mtok": 5}, "batch": {"output_mtok": 4}},
        }
    }
    book = build_pricebook({"p": mine}, price_data)
    tariff = book.tariff("p", "ollama", "m")
    assert tariff is not None

    def cost(tokens: int, tier: str | None) -> Decimal | None:
        return tariff.price(TokenUsage(input_tokens=tokens, output_tokens=100), service_tier=tier, started_at=NOON).cost_usd

    assert cost(200_000, None) == mtok("1", 200_000) + mtok("10", 100)
    assert cost(200_001, None) == mtok("2", 200_001) + mtok("10", 100)
    assert cost(0, "flex") == mtok("5", 100)
    assert cost(0, "batch") == mtok("4", 100)


def test_dated_overrides(price_data: PriceData) -> None:
    mine = {
        "gpt-4o": [
            {"valid_from": "2026-11-01", "input_mtok": 1, "output_mtok": 1, "cache_read_mtok": "0.5"},
            {"valid_from": date(2026, 12, 1), "input_mtok": 2, "output_mtok": 2},
        ]
    }
    tariff = build_pricebook({"openai": mine}, price_data).tariff("openai", "openai", "gpt-4o")
    assert tariff is not None
    usage = TokenUsage(input_tokens=1_000, cache_read_tokens=1_000, output_tokens=0)

    def cost(month: int, day: int) -> Cost:
        return tariff.price(usage, service_tier=None, started_at=datetime(2026, month, day, tzinfo=UTC))

    assert cost(10, 31) == Cost(mtok("1.25", 1_000), Decimal(0), mtok("1.25", 1_000), price_data.source)
    assert cost(11, 1).cost_usd == mtok("0.5", 1_000)
    assert cost(11, 30).cost_usd == mtok("0.5", 1_000)
    assert cost(12, 1).cost_usd == mtok("2", 1_000)
    assert tariff.usual_nano_usd(1_000, 0, started_at=datetime(2026, 10, 1, tzinfo=UTC)) == 1_000 * 2_500
    assert tariff.upper_bound_nano_usd(1_000, 0, started_at=datetime(2026, 11, 5, tzinfo=UTC)) == 1_000 * 1_000
    nameless = build_pricebook({"p": {"m": {"valid_from": "2026-12-01", "input_mtok": 1}}}, price_data)
    assert nameless.cost("p", "ollama", "m", reading(), NOON).source == "no price on 2026-11-21: p/m (prices.yaml)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_mtk": 1}, r"prices\.p\.m\.input_mtk: no such field; known are .*input_mtok"),
        ({"input_mtok": -1}, r"prices\.p\.m\.input_mtok: a finite number of at least 0"),
        ({"input_mtok": "cheap"}, r"prices\.p\.m\.input_mtok: a number is wanted"),
        ({"input_mtok": {"tiers": []}}, r"write \{base: 1"),
        ({"input_mtok": {"base": 1, "steps": []}}, r"prices\.p\.m\.input_mtok\.steps: no such field"),
        ({"input_mtok": {"base": 1, "tiers": [{"start": 1.5, "price": 2}]}}, r"a whole number of tokens"),
        ({"input_mtok": 1, "valid_from": "soon"}, r"prices\.p\.m\.valid_from: a day is wanted"),
        ({"input_mtok": 1, "service_tiers": 5}, r"service_tiers: a mapping"),
        ({"input_mtok": 1, "service_tiers": {"flex": 5}}, r"service_tiers\.flex: a mapping"),
        ({"input_mtok": 1, "service_tiers": {"flex": {"x": 5}}}, r"service_tiers\.flex\.x: no such field"),
        ({"max_output_tokens": "many"}, r"prices\.p\.m\.max_output_tokens: a whole number"),
        ([{"input_mtok": 1}, {"input_mtok": 2}], r"need a valid_from each"),
        (5, r"prices\.p\.m: a mapping of prices"),
    ],
)
def test_a_wrong_override_is_refused_by_its_place(price_data: PriceData, fields: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_pricebook({"p": {"m": fields}}, price_data)


def test_every_rate_is_a_field_with_a_description() -> None:
    assert set(RATES) < set(OVERRIDE_FIELDS)
    assert all(field.kind in ("rate", "tokens", "date", "tiers") and field.description for field in OVERRIDE_FIELDS.values())


def test_limits_of_models(price_data: PriceData) -> None:
    mine: dict[str, dict[str, object]] = {
        "openai": {"gpt-4o": {"max_output_tokens": 1_000}, "secret": {"input_mtok": 1, "context_tokens": 5_000}}
    }
    book = build_pricebook(mine, price_data)
    assert book.model_limits("other", "openai", "gpt-4o") == ModelLimits(16_384, 128_000)
    assert book.model_limits("openai", "openai", "gpt-4o") == ModelLimits(1_000, 128_000)
    assert book.tariff("openai", "openai", "gpt-4o") is not None  # an override of limits alone leaves the prices
    assert book.model_limits("openai", "openai", "secret") == ModelLimits(None, 5_000)
    assert book.model_limits("openai", "openai", None) == ModelLimits(None, None)
    assert book.model_limits("openai", "openai", "x" * 100_000) == ModelLimits(None, None)


def test_a_snapshot_prices_as_its_original(pricebook: Pricebook) -> None:
    text = pricebook.to_snapshot()
    copy = Pricebook.from_snapshot(text, {"openai": {"gpt-4o": {"input_mtok": 1, "output_mtok": 1}}})
    assert copy.to_snapshot() == text
    copy.warm(["openai", "vertex", "ollama"])
    for provider, model in (("anthropic", "claude-sonnet-4-5"), ("deepseek", "deepseek-chat"), ("openai", "o3")):
        for tier in (None, "flex"):
            one = pricebook.cost(provider, provider, model, reading(service_tier=tier), NOON)
            assert copy.cost(provider, provider, model, reading(service_tier=tier), NOON) == one
    assert copy.cost("openai", "openai", "gpt-4o", reading(), NOON).source == "prices.yaml"
    with pytest.raises(ValueError, match="not a price snapshot"):
        Pricebook.from_snapshot('{"format": 0}')


def test_entries_show_the_operators_prices_first_and_all_of_the_list(price_data: PriceData) -> None:
    mine = {
        "p": {
            "m*": {"input_mtok": {"base": 1, "tiers": [{"start": 5, "price": 2}]}, "service_tiers": {"flex": {"input_mtok": 0.5}}}
        }
    }
    entries = list(build_pricebook(mine, price_data).entries())
    assert entries[0].as_dict() == {
        "provider": "p",
        "model": "m*",
        "source": "prices.yaml",
        "prices": [
            {
                "rates": {"input_mtok": {"base": "1", "tiers": [{"start": 5, "price": "2"}]}},
                "from": None,
                "hours": None,
                "when": {},
            },
            {"rates": {"input_mtok": "0.5"}, "from": None, "hours": None, "when": {"service_tier": "flex"}},
        ],
        "context_tokens": None,
        "max_output_tokens": None,
    }
    chat = next(entry for entry in entries if (entry.provider, entry.model) == ("deepseek", "deepseek-chat"))
    assert [row["hours"] for row in chat.rates] == [None, "00:30-16:30"]
    assert chat.rates[1]["rates"] == {"input_mtok": "0.27", "cache_read_mtok": "0.07", "output_mtok": "1.1"}
    assert len(entries) == 1 + len(list(price_data.models()))
