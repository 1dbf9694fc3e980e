"""Entries of providers.yaml to Providers."""

from typing import Any

import pytest

from proxy.config.build_providers import build_provider, proxy_from_environ
from proxy.config.fields import read_bytes, read_seconds
from proxy.config.load import load, load_texts
from proxy.config.presets import PRESETS
from proxy.routing.provider import Provider


def built(name: str, entry: dict[str, Any], environ: dict[str, str] | None = None) -> Provider:
    provider, reason, findings = build_provider(name, entry, environ or {})
    assert (reason, findings) == (None, [])
    assert provider is not None
    return provider


KEYS = {
    "OPENAI_API_KEY": "k-openai",
    "AZURE_OPENAI_API_KEY": "k-azure",
    "ANTHROPIC_API_KEY": "k-anthropic",
    "GOOGLE_API_KEY": "k-google",
    "VERTEX_ACCESS_TOKEN": "k-vertex",
    "AWS_BEARER_TOKEN_BEDROCK": "k-bedrock",
    "MISTRAL_API_KEY": "k-mistral",
    "CO_API_KEY": "k-cohere",
    "GROQ_API_KEY": "k-groq",
    "CEREBRAS_API_KEY": "k-cerebras",
    "TOGETHER_API_KEY": "k-together",
    "DEEPSEEK_API_KEY": "k-deepseek",
    "XAI_API_KEY": "k-xai",
    "OPENROUTER_API_KEY": "k-openrouter",
    "PERPLEXITY_API_KEY": "k-perplexity",
    "HF_TOKEN": "k-huggingface",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/",
}
SHIPPED = [
    ("openai", "https://api.openai.com:443", "openai", "openai", "bearer", "auto", "k-openai"),
    ("azure", "https://mine.openai.azure.com:443", "azure", "azure", "api-key", "auto", "k-azure"),
    ("anthropic", "https://api.anthropic.com:443", "anthropic", "anthropic", "x-api-key", "auto", "k-anthropic"),
    ("gemini", "https://generativelanguage.googleapis.com:443", "gemini", "google", "x-goog-api-key", "auto", "k-google"),
    ("vertex", "https://us-central1-aiplatform.googleapis.com:443", "vertex", "google", "bearer", "auto", "k-vertex"),
    ("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com:443", "bedrock", "aws", "bearer", "auto", "k-bedrock"),
    ("mistral", "https://api.mistral.ai:443", "openai", "mistral", "bearer", "never", "k-mistral"),
    ("cohere", "https://api.cohere.com:443", "cohere", "cohere", "bearer", "auto", "k-cohere"),
    ("groq", "https://api.groq.com:443", "openai", "groq", "bearer", "never", "k-groq"),
    ("cerebras", "https://api.cerebras.ai:443", "openai", "cerebras", "bearer", "auto", "k-cerebras"),
    ("together", "https://api.together.xyz:443", "openai", "together", "bearer", "auto", "k-together"),
    ("deepseek", "https://api.deepseek.com:443", "openai", "deepseek", "bearer", "auto", "k-deepseek"),
    ("xai", "https://api.x.ai:443", "openai", "x-ai", "bearer", "auto", "k-xai"),
    ("openrouter", "https://openrouter.ai:443", "openai", "openrouter", "bearer", "auto", "k-openrouter"),
    ("perplexity", "https://api.perplexity.ai:443", "openai", "perplexity", "bearer", "never", "k-perplexity"),
    ("huggingface", "https://router.huggingface.co:443", "openai", "huggingface", "bearer", "auto", "k-huggingface"),
    ("ollama", "http://127.0.0.1:11434", "ollama", "ollama", "none", "auto", None),
    ("local", "http://127.0.0.1:8000", "openai", "local", "none", "auto", None),
]


@pytest.mark.parametrize(("name", "address", "api", "price_provider", "credential", "inject_usage", "api_key"), SHIPPED)
def test_shipped_provider(
    name: str, address: str, api: str, price_provider: str, credential: str, inject_usage: str, api_key: str | None
) -> None:
    entry = load(None, KEYS).providers["providers"][name]
    provider = built(name, entry, KEYS)
    assert f"{provider.scheme}://{provider.host}:{provider.port}" == address
    assert (provider.api, provider.price_provider, provider.credential) == (api, price_provider, credential)
    assert (provider.inject_usage, provider.api_key, provider.base_path) == (inject_usage, api_key, b"")


def test_all_shipped_providers_are_tested() -> None:
    assert list(load(None, {}).providers["providers"]) == [row[0] for row in SHIPPED]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_an_empty_entry_is_its_preset(name: str) -> None:
    provider = built(name, {}, KEYS)
    assert provider.price_provider == PRESETS[name].price_provider
    assert provider.api == PRESETS[name].api


def test_azure_without_an_address_is_left_out_and_says_why() -> None:
    entry = load(None, {}).providers["providers"]["azure"]
    assert build_provider("azure", entry, {}) == (None, "AZURE_OPENAI_ENDPOINT is not set", [])


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, "bedrock-runtime.us-east-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "eu-west-3"}, "bedrock-runtime.eu-west-3.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "eu-west-3", "AWS_REGION": "us-west-2"}, "bedrock-runtime.us-west-2.amazonaws.com"),
    ],
)
def test_bedrock_follows_the_region(environ: dict[str, str], host: str) -> None:
    assert built("bedrock", {}, environ).host == host


def test_a_missing_key_leaves_the_provider_usable() -> None:
    provider = built("openai", {"base_url": "https://api.openai.com", "api_key": "${OPENAI_API_KEY}"})
    assert (provider.api_key, provider.credential) == (None, "bearer")


def test_a_presets_key_never_goes_to_another_address() -> None:
    environ = {"OPENAI_API_KEY": "sk-real"}
    assert built("openai", {"base_url": "https://elsewhere.example.com"}, environ).api_key is None
    assert built("mine", {"base_url": "https://elsewhere.example.com", "preset": "openai"}, environ).api_key is None
    assert built("openai", {"base_url": "https://api.openai.com"}, environ).api_key == "sk-real"
    assert built("mine", {"base_url": "https://api.openai.com"}, environ).api_key == "sk-real"
    assert built("bedrock", {"base_url": "https://bedrock-runtime.evil.example"}, {"AWS_BEARER_TOKEN_BEDROCK": "x"}).api_key is None


def test_an_address_betrays_its_provider() -> None:
    provider = built("team-azure", {"base_url": "https://team.openai.azure.com"})
    assert (provider.api, provider.credential, provider.price_provider) == ("azure", "api-key", "azure")
    provider = built("eu", {"base_url": "https://europe-west4-aiplatform.googleapis.com"})
    assert (provider.api, provider.credential, provider.price_provider) == ("vertex", "bearer", "google")


def test_what_an_entry_says_comes_before_its_preset() -> None:
    entry = {
        "base_url": "http://h:81/a/",
        "api": "openai",
        "credential": "bearer",
        "price_provider": "azure",
        "inject_usage": "always",
        "auth": "keys",
    }
    provider = built("mistral", entry)
    assert (provider.api, provider.credential, provider.price_provider, provider.inject_usage) == (
        "openai",
        "bearer",
        "azure",
        "always",
    )
    assert (provider.host, provider.port, provider.base_path, provider.auth) == ("h", 81, b"/a", "keys")


@pytest.mark.parametrize(
    ("api", "credential"),
    [
        ("openai", "bearer"),
        ("anthropic", "x-api-key"),
        ("gemini", "x-goog-api-key"),
        ("azure", "api-key"),
        ("vertex", "bearer"),
        ("bedrock", "bearer"),
        ("cohere", "bearer"),
        ("ollama", "bearer"),
        ("mistral", "bearer"),
    ],
)
def test_a_wire_format_says_where_the_key_goes(api: str, credential: str) -> None:
    provider = built("mine", {"base_url": "http://h", "api": api, "api_key": "k"})
    assert (provider.credential, provider.api_key, provider.price_provider) == (credential, "k", "mine")


def test_a_server_without_a_key_takes_none() -> None:
    assert built("mine", {"base_url": "http://h"}).credential == "none"
    assert built("mine", {"base_url": "http://h", "api_key": "${NOT_THERE}"}).credential == "bearer"
    assert built("ollama", {"api_key": "k"}).credential == "bearer"


def test_keys_lose_the_line_break_of_the_file_they_came_from() -> None:
    assert built("openai", {}, {"OPENAI_API_KEY": " sk-1\n"}).api_key == "sk-1"


def test_headers_take_the_environment_and_empty_ones_fall_out() -> None:
    entry = {"headers": {"OpenAI-Organization": "${ORG:-}", "X-Team": "t-${TEAM}"}}
    assert built("openai", entry, {"TEAM": "a"}).headers == ((b"X-Team", b"t-a"),)


def test_times_and_names_reach_the_provider() -> None:
    documents = load_texts(
        {
            "providers.yaml": "providers: {azure: {base_url: 'http://h', connect_timeout_seconds: 500ms, lifetime_seconds: 1h, "
            "model_names: {Prod-*: gpt-4o}}}"
        },
        {},
    )
    provider = built("azure", documents.providers["providers"]["azure"])
    assert (provider.connect_timeout_seconds, provider.lifetime_seconds, provider.model_names) == (
        0.5,
        3600.0,
        (("prod-*", "gpt-4o"),),
    )


PROXY = {"HTTPS_PROXY": "http://proxy.example:3128", "http_proxy": "proxy.example:3129"}


@pytest.mark.parametrize(
    ("scheme", "host", "port", "extra", "expected"),
    [
        ("https", "api.openai.com", 443, {}, "http://proxy.example:3128"),
        ("http", "api.openai.com", 80, {}, "http://proxy.example:3129"),
        ("https", "127.0.0.1", 443, {}, None),
        ("https", "localhost", 443, {}, None),
        ("https", "api.openai.com", 443, {"NO_PROXY": "openai.com"}, None),
        ("https", "api.openai.com", 443, {"no_proxy": ".openai.com, x"}, None),
        ("https", "api.openai.com", 443, {"NO_PROXY": "*.openai.com"}, None),
        ("https", "api.openai.com", 443, {"NO_PROXY": "notopenai.com,penai.com"}, "http://proxy.example:3128"),
        ("https", "api.openai.com", 443, {"NO_PROXY": "api.openai.com:8443"}, "http://proxy.example:3128"),
        ("https", "api.openai.com", 443, {"NO_PROXY": "api.openai.com:443"}, None),
        ("https", "api.openai.com", 443, {"NO_PROXY": "*"}, None),
        ("https", "10.1.2.3", 443, {"NO_PROXY": "10.0.0.0/8"}, None),
        ("https", "11.1.2.3", 443, {"NO_PROXY": "10.0.0.0/8"}, "http://proxy.example:3128"),
        ("https", "api.openai.com", 443, {"HTTPS_PROXY": "socks5://x"}, None),
    ],
)
def test_proxies_of_the_environment(scheme: str, host: str, port: int, extra: dict[str, str], expected: str | None) -> None:
    assert proxy_from_environ(scheme, host, port, PROXY | extra) == expected


def test_an_entrys_own_proxy_comes_first() -> None:
    assert built("openai", {"proxy": "http://p:1"}, PROXY).proxy_url == "http://p:1"
    assert built("openai", {"proxy": "none"}, PROXY).proxy_url is None
    assert built("openai", {}, PROXY).proxy_url == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64 MiB", 64 * 2**20),
        ("64MiB", 64 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("10kB", 10_000),
        ("10k", 10_240),
        (512, 512),
        ("512", 512),
        ("0", 0),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    assert read_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("500ms", 0.5), ("1.5 s", 1.5), (7, 7.0), (0.25, 0.25)]
)
def test_times(text: object, expected: float) -> None:
    assert read_seconds(text) == expected
