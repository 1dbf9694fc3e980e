"""What is known about providers by name: where they are, how they take their key, what their prices stand under.

An entry of providers.yaml takes from its preset whatever it leaves out (`build_providers.py`). The preset is the one
named by `preset:`, else the one that the entry is named like, else the one whose host `base_url` points at.

`inject_usage: never` stands only where streams carry their usage unasked: Mistral, Groq and Perplexity send it in
recordings of streams that nobody asked for it (2026-11-21). Everybody else documents `stream_options.include_usage`
or ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

CREDENTIALS = ("bearer", "x-api-key", "api-key", "x-goog-api-key", "none")
CREDENTIAL_OF_API: Mapping[str, str] = MappingProxyType(
    {"openai": "bearer", "azure": "api-key", "anthropic": "x-api-key", "gemini": "x-goog-api-key", "vertex": "bearer",
     "bedrock": "bearer", "cohere": "bearer", "ollama": "bearer"}
)  # fmt: skip
"""Where each wire format has its key by custom."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What an entry may leave out."""

    api: str
    base_url: str | None
    """None: there is no address that serves everybody."""
    api_key: str | None
    """The usual environment variables. Used only together with the preset's own address: a key must not go elsewhere."""
    price_provider: str
    credential: str
    inject_usage: str = "auto"
    hosts: tuple[str, ...] = ()
    """Host names (leading `.` or `-`: their ends; trailing `.`: their beginnings, at AWS) that betray this provider."""
    needs_key: bool = True
    """Whether calls without a key of ours in place make no sense."""


def _openai_like(base_url: str, variable: str, price_provider: str, inject_usage: str = "auto") -> Preset:
    host = urlsplit(base_url).hostname or ""
    return Preset("openai", base_url, f"${{{variable}}}", price_provider, "bearer", inject_usage, (host,))


_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_AWS_REGION = "${AWS_REGION:-${AWS_DEFAULT_REGION:-us-east-1}}"

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": _openai_like("https://api.openai.com", "OPENAI_API_KEY", "openai"),
        "azure": Preset("azure", "${AZURE_OPENAI_ENDPOINT}", "${AZURE_OPENAI_API_KEY}", "azure", "api-key", hosts=_AZURE_HOSTS),
        "anthropic": Preset(
            "anthropic", "https://api.anthropic.com", "${ANTHROPIC_API_KEY}", "anthropic", "x-api-key", hosts=("api.anthropic.com",)
        ),
        "gemini": Preset(
            "gemini",
            "https://generativelanguage.googleapis.com",
            "${GEMINI_API_KEY:-${GOOGLE_API_KEY}}",
            "google",
            "x-goog-api-key",
            hosts=("generativelanguage.googleapis.com",),
        ),
        "vertex": Preset(
            "vertex",
            "${VERTEX_ENDPOINT:-https://us-central1-aiplatform.googleapis.com}",
            "${VERTEX_ACCESS_TOKEN}",
            "google",
            "bearer",
            hosts=("aiplatform.googleapis.com", "-aiplatform.googleapis.com"),
        ),
        "bedrock": Preset(
            "bedrock",
            f"https://bedrock-runtime.{_AWS_REGION}.amazonaws.com",
            "${AWS_BEARER_TOKEN_BEDROCK}",
            "aws",
            "bearer",
            hosts=("bedrock-runtime.", "bedrock-runtime-fips.", "bedrock-mantle."),
        ),
        "mistral": _openai_like("https://api.mistral.ai", "MISTRAL_API_KEY", "mistral", "never"),
        "cohere": Preset(
            "cohere",
            "https://api.cohere.com",
            "${CO_API_KEY:-${COHERE_API_KEY}}",
            "cohere",
            "bearer",
            hosts=("api.cohere.com", "api.cohere.ai"),
        ),
        "groq": _openai_like("https://api.groq.com", "GROQ_API_KEY", "groq", "never"),
        "cerebras": _openai_like("https://api.cerebras.ai", "CEREBRAS_API_KEY", "cerebras"),
        "together": _openai_like("https://api.together.xyz", "TOGETHER_API_KEY", "together"),
        "deepseek": _openai_like("https://api.deepseek.com", "DEEPSEEK_API_KEY", "deepseek"),
        "xai": _openai_like("https://api.x.ai", "XAI_API_KEY", "x-ai"),
        "openrouter": _openai_like("https://openrouter.ai", "OPENROUTER_API_KEY", "openrouter"),
        "perplexity": _openai_like("https://api.perplexity.ai", "PERPLEXITY_API_KEY", "perplexity", "never"),
        "huggingface": _openai_like("https://router.huggingface.co", "HF_TOKEN", "huggingface"),
        "fireworks": _openai_like("https://api.fireworks.ai", "FIREWORKS_API_KEY", "fireworks"),
        "moonshot": _openai_like("https://api.moonshot.ai", "MOONSHOT_API_KEY", "moonshotai"),
        "zai": _openai_like("https://api.z.ai", "ZAI_API_KEY", "zai"),
        "novita": _openai_like("https://api.novita.ai", "NOVITA_API_KEY", "novita"),
        "voyage": _openai_like("https://api.voyageai.com", "VOYAGE_API_KEY", "voyageai"),
        "minimax": _openai_like("https://api.minimax.io", "MINIMAX_API_KEY", "minimax"),
        "copilot": _openai_like("https://api.githubcopilot.com", "GITHUB_COPILOT_TOKEN", "github-copilot"),
        "ollama": Preset("ollama", "${OLLAMA_BASE_URL:-http://127.0.0.1:11434}", None, "ollama", "bearer", needs_key=False),
        "local": Preset(
            "openai", "${LOCAL_LLM_BASE_URL:-http://127.0.0.1:8000}", "${LOCAL_LLM_API_KEY}", "local", "bearer", needs_key=False
        ),
    }
)

APIS = tuple(CREDENTIAL_OF_API)
API_NAMES: Mapping[str, str] = MappingProxyType({api: api for api in APIS} | {name: preset.api for name, preset in PRESETS.items()})
"""What `api:` may say: a wire format, or a provider that speaks one."""


def preset_by_host(host: str) -> Preset | None:
    """The provider a host name belongs to."""
    for preset in PRESETS.values():
        for known in preset.hosts:
            if host == known or (known[0] in ".-" and host.endswith(known)):
                return preset
            if known.endswith(".") and host.startswith(known) and host.endswith((".amazonaws.com", ".api.aws")):
                return preset
    return None
