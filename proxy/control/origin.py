"""Where a request to the control plane came from: what the audit log and the count of log-in attempts go by.

Through the public port a worker relays it over a unix socket and says whose connection it was in `x-weighbridge-peer`. No
client can forge that header: workers take every x-weighbridge-* header out, and on a TCP port of our own it is not looked at.
"""

from __future__ import annotations

from aiohttp import web

PEER_HEADER = "x-weighbridge-peer"
MAX_ADDRESS = 64


def address_of(request: web.Request) -> str | None:
    """The client's address; None where nobody can say."""
    transport = request.transport
    if transport is not None and isinstance(transport.get_extra_info("sockname"), (str, bytes)):
        return request.headers.get(PEER_HEADER, "")[:MAX_ADDRESS] or None
    return request.remote


def came_by_tls(request: web.Request) -> bool:
    """Whether the browser spoke TLS, as it or the ingress says: decides whether a cookie is marked Secure."""
    proto = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return proto == "https" or request.headers.get("origin", "").lower().startswith("https://")
