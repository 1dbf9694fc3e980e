"""The ways an alert leaves the house: a signed webhook, Slack, e-mail, apprise. Thin: what is sent, and whether it arrived."""

from __future__ import annotations

import asyncio
import hmac
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from hashlib import sha256
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson

from proxy.control.alerts.alert import Alert
from proxy.control.alerts.destinations import (
    AppriseDestination,
    Destination,
    EmailDestination,
    SlackDestination,
    WebhookDestination,
)

SEND_SECONDS = 10.0
SIGNATURE_HEADER = "x-weighbridge-signature"
DELIVERY_HEADER = "x-weighbridge-delivery"
_WORTH_A_RETRY = (408, 425, 429)


class DeliveryFailed(Exception):
    """An alert did not arrive."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.is_final = is_final
        """Trying again will not help."""


async def send(
    session: aiohttp.ClientSession, destination: Destination, delivery_id: str, alerts: Sequence[Alert], unix_seconds: float
) -> None:
    """Send some alerts as one message.

    Raises:
        DeliveryFailed: it did not arrive.
    """
    if isinstance(destination, WebhookDestination):
        await _post(session, destination.url, *_webhook(destination, delivery_id, alerts, unix_seconds))
    elif isinstance(destination, SlackDestination):
        await _post(session, destination.url, orjson.dumps({"text": _words(alerts)}), {})
    elif isinstance(destination, AppriseDestination):
        await _apprise(destination, alerts)
    else:
        await _mail(destination, delivery_id, alerts)


def signature(secret: str, unix_seconds: int, body: bytes) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<body>`; the time lets a receiver refuse a replay."""
    signed = hmac.new(secret.encode(), b"%d." % unix_seconds + body, sha256).hexdigest()
    return f"t={unix_seconds},v1={signed}"


def _webhook(
    destination: WebhookDestination, delivery_id: str, alerts: Sequence[Alert], now: float
) -> tuple[bytes, dict[str, str]]:
    body = orjson.dumps(
        {"delivery": delivery_id, "alerts": [{"id": one.id, "at": one.at, **one.as_entry().body} for one in alerts]}
    )
    headers = {DELIVERY_HEADER: delivery_id}
    if destination.secret:
        headers[SIGNATURE_HEADER] = signature(destination.secret, int(now), body)
    return body, headers


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        async with session.post(
            url,
            data=body,
            headers={"content-type": "application/json", **headers},
            timeout=aiohttp.ClientTimeout(total=SEND_SECONDS),
            allow_redirects=False,
        ) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
        raise DeliveryFailed(f"{type(failure).__name__}: {failure}"[:300], is_final=False) from failure
    if not 200 <= status < 300:
        raise DeliveryFailed(f"answered {status}", is_final=status < 500 and status not in _WORTH_A_RETRY)


def _words(alerts: Sequence[Alert]) -> str:
    return "\n".join(f"[{alert.severity}] {alert.title}: {alert.text}" for alert in alerts)


async def _apprise(destination: AppriseDestination, alerts: Sequence[Alert]) -> None:
    try:
        import apprise
    except ImportError as missing:
        raise DeliveryFailed("apprise is not installed: pip install weighbridge[apprise]", is_final=True) from missing
    service = apprise.Apprise()
    if not service.add(destination.url):
        raise DeliveryFailed("apprise does not know this kind of address", is_final=True)
    try:
        async with asyncio.timeout(SEND_SECONDS):
            has_arrived = await service.async_notify(title=_subject(alerts), body=_words(alerts))
    except TimeoutError as silence:
        raise DeliveryFailed(f"no answer within {SEND_SECONDS:.0f} s", is_final=False) from silence
    if not has_arrived:
        raise DeliveryFailed("apprise says that it was not delivered", is_final=False)


def _subject(alerts: Sequence[Alert]) -> str:
    subject = alerts[0].title if len(alerts) == 1 else f"{len(alerts)} alerts, first: {alerts[0].title}"
    return " ".join(f"[weighbridge] {subject}".split())[:200]


async def _mail(destination: EmailDestination, delivery_id: str, alerts: Sequence[Alert]) -> None:
    message = EmailMessage()
    message["Subject"] = _subject(alerts)
    message["From"] = destination.sender
    message["To"] = ", ".join(destination.recipients)
    message["Message-ID"] = f"<{delivery_id}@weighbridge>"
    message.set_content(_words(alerts).replace("\n", "\n\n") + "\n")
    try:
        await asyncio.to_thread(_send_mail, destination, message)
    except smtplib.SMTPResponseException as refusal:
        raise DeliveryFailed(f"SMTP {refusal.smtp_code}", is_final=refusal.smtp_code >= 500) from refusal
    except (OSError, smtplib.SMTPException) as failure:
        raise DeliveryFailed(f"{type(failure).__name__}: {failure}"[:300], is_final=False) from failure


def _send_mail(destination: EmailDestination, message: EmailMessage) -> None:
    server = urlsplit(destination.smtp_url)
    host = server.hostname or "127.0.0.1"
    client: smtplib.SMTP
    if server.scheme == "smtps":
        client = smtplib.SMTP_SSL(host, server.port or 465, timeout=SEND_SECONDS, context=ssl.create_default_context())
    else:
        client = smtplib.SMTP(host, server.port or 25, timeout=SEND_SECONDS)
    with client:
        if server.scheme == "smtp+starttls":
            client.starttls(context=ssl.create_default_context())
        if server.username:
            client.login(unquote(server.username), unquote(server.password or ""))
        client.send_message(message)
