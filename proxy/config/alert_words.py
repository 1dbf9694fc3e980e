"""The words of alerts.yaml: what alerts are about, how bad they are, and what an address of each channel looks like.

Here and not in the control plane, which uses them for the same settings made through its API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.environment import expand

KINDS = (
    "daily",
    "monthly",
    "burst",
    "cost",
    "budget",
    "anomaly",
    "unpriced_model",
    "usage_missing",
    "ledger_behind",
    "store_away",
    "provider_failing",
    "config_refused",
)
SEVERITIES = ("info", "warning", "critical")
CLOCK_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
HTTP_URL = r"^https?://[A-Za-z0-9.\-\[\]:]+(/[!-~]*)?$"
SMTP_URL = r"^(smtp|smtps|smtp\+starttls)://[!-~]+$"
ANY_URL = r"^[a-z][a-z0-9+.\-]{1,30}://[!-~]+$"
ADDRESS = r"^[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+$"
CHANNEL_FIELDS: Mapping[str, Mapping[str, str]] = {
    "webhook": {"url": HTTP_URL},
    "slack": {"url": HTTP_URL},
    "email": {"smtp_url": SMTP_URL, "sender": ADDRESS},
    "apprise": {"url": ANY_URL},
}
"""What each channel needs, and how it must look once `${NAME}` is replaced; `email` needs `recipients` as well."""
OPTIONAL_FIELDS: Mapping[str, tuple[str, ...]] = {"webhook": ("secret",), "slack": (), "email": ("recipients",), "apprise": ()}
SPIKE_RESOURCES = ("tokens", "cost_usd", "requests")
SPIKE_GROUPS = ("user", "team", "key", "provider", "model")


def with_environment(destination: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The destination with the references in its texts replaced.

    Raises:
        MissingVariable, MalformedReference: as `expand`.
    """
    return {name: expand(value, environ) if isinstance(value, str) else value for name, value in destination.items()}
