"""What providers are called here and in the price list."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PRICE_PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "gemini": "google",
        "vertex": "google",
        "vertexai": "google",
        "vertex-ai": "google",
        "google-vertex": "google",
        "bedrock": "aws",
        "amazon": "aws",
        "azure-openai": "azure",
        "azure_openai": "azure",
        "azure-ai": "azure",
        "foundry": "azure",
        "mistralai": "mistral",
        "xai": "x-ai",
        "together-ai": "together",
        "together_ai": "together",
        "togetherai": "together",
        "fireworks-ai": "fireworks",
        "fireworks_ai": "fireworks",
        "moonshot": "moonshotai",
        "kimi": "moonshotai",
        "zhipu": "zhipuai",
        "z-ai": "zai",
        "copilot": "github-copilot",
        "meta-llama": "meta",
        "voyage": "voyageai",
    }
)
"""Our name → the list's. A name that is the list's own, or that the list's own matching knows, needs no entry."""

GATEWAYS = frozenset({"vercel", "vercel-gateway", "ai-gateway", "litellm", "portkey", "requesty", "github-models"})
"""Sell other providers' models at the provider's own price, named `vendor/model` (or by the model alone)."""

HUGGINGFACE = "huggingface"
"""Routes to providers that each have their price: `org/model:cerebras` is listed under `huggingface_cerebras`. Without
the suffix the router chooses, and the price is not known."""
