"""A provider as the configuration describes it, ready for the request's way."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Provider:
    """One entry of `providers.yaml`, defaults filled in. Bytes where the way needs bytes."""

    name: str
    scheme: str
    """`http` or `https`."""
    host: str
    port: int
    base_path: bytes
    """Path of `base_url` without a trailing slash; put before the caller's path."""
    api: str
    """openai, azure, anthropic, gemini, vertex, bedrock, cohere or ollama: a hint for credentials and errors, never for
    reading usage."""
    price_provider: str
    """The provider's name in the price data (`openai`, `anthropic`, `google`, `azure`, `aws`, `x-ai` …)."""
    api_key: str | None = field(default=None, repr=False)
    credential: str = "bearer"
    """Where the provider expects its key: bearer, x-api-key, api-key, x-goog-api-key, none."""
    auth: str | None = None
    """auto, keys or none; None: as the whole proxy."""
    inject_usage: str = "auto"
    """auto, always or never: whether to ask for `stream_options.include_usage` where the client did not."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Added to each request where the caller did not send the name (an organisation, an API version)."""
    connect_timeout_seconds: float = 10.0
    first_byte_timeout_seconds: float = 600.0
    between_bytes_timeout_seconds: float = 300.0
    max_connections: int = 1000
    idle_seconds: float = 30.0
    lifetime_seconds: float = 3600.0
    verify_tls: bool = True
    ca_file: str | None = None
    proxy_url: str | None = None
    """HTTP(S) CONNECT proxy for this provider; from the file or from HTTPS_PROXY / NO_PROXY."""
    model_names: tuple[tuple[str, str], ...] = ()
    """(deployment pattern, model) pairs: what a deployment's price is looked up as (Azure)."""
