"""GET config: the configuration in force, without secrets, and why the files on disk are not, where they are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.parameters import read_query
from proxy.control.replies import json_reply
from proxy.control.routes import Route

Documents = Callable[[], Mapping[str, object]]
DOCUMENTS: web.AppKey[Documents] = web.AppKey("config_documents")
"""Set by whoever runs the application: the files in force, by name without ending (`config.load.Documents.as_dict`)."""
HIDDEN = "(hidden)"
_SECRETS = frozenset({"api_key", "headers", "secret", "url", "smtp_url"})
"""Whatever stands below these may be a credential; a reference such as `${OPENAI_API_KEY}` is none and is shown."""


async def show_config(request: web.Request) -> web.Response:
    context = context_of(request)
    read_query(request, ())
    documents = request.app.get(DOCUMENTS, dict)()
    return json_reply(
        {
            "version": context.rules.version,
            "documents": {name: without_secrets(document) for name, document in documents.items()},
            "mistakes": context.config_mistakes(),
        }
    )


def without_secrets(value: object, is_secret: bool = False) -> object:
    """The value with every literal credential hidden, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_secrets(one, is_secret or name in _SECRETS) for name, one in value.items()}
    if isinstance(value, list):
        return [without_secrets(one, is_secret) for one in value]
    if isinstance(value, str):
        if is_secret and not (value.startswith("${") and value.endswith("}") and value.count("$") == 1):
            return HIDDEN
        return _without_password(value)
    return value


def _without_password(text: str) -> str:
    """An address without the user and password that may stand in it."""
    scheme, mark, rest = text.partition("://")
    if not mark or "@" not in rest.partition("/")[0]:
        return text
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{HIDDEN}@{authority.rpartition('@')[2]}{slash}{path}"


ROUTES = (Route("GET", "/config", show_config, "admin", "The configuration in force, without secrets", "Config"),)
