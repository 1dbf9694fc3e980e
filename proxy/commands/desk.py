"""What a command is handed: where to ask, how to show; and how a function becomes a command.

Where a command asks, in this order:
1. the server of --url or WEIGHBRIDGE_URL;
2. the server at the default address, where there is a key for it and it answers;
3. the local data (WEIGHBRIDGE_DATA_DIR, DATABASE_URL), which it says on standard error.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_type_hints

import typer

from proxy.commands.api import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE, Api
from proxy.commands.failures import AWAY, CommandFailed
from proxy.commands.showing import tell

_WHERE = f"The server. Default: {URL_VARIABLE}, else {DEFAULT_URL}, else the local data."
UrlOption = Annotated[str | None, typer.Option("--url", metavar="URL", help=_WHERE)]
KeyOption = Annotated[str | None, typer.Option("--key", metavar="KEY", help=f"The admin key. Default: {KEY_VARIABLE}.")]
LocalOption = Annotated[bool, typer.Option("--local", help="Ask the local data and no server.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The API's answer as JSON on standard output.")]
_COMMON: dict[str, tuple[Any, object]] = {
    "url": (UrlOption, None),
    "key": (KeyOption, None),
    "is_local": (LocalOption, False),
    "is_json": (JsonOption, False),
}
_FILTER_WORDS = {
    "range": "Back from now (24h, 30d, week, month) or a calendar period (today, this_month, last_month, all).",
    "from": "First day or instant.",
    "to": "Last instant, exclusive.",
    "timezone": "Zone of dates and intervals.",
    "user": "Only this user.",
    "team": "Only this team.",
    "provider": "Only this provider.",
    "model": "Only this model.",
    "operation": "Only this operation.",
    "session": "Only this session.",
    "tag": "Only calls that carry this tag, name=value.",
    "outcome": "Only calls that ended so: ok, denied, upstream_error, …",
}
Query = dict[str, object]
CONNECT_PROBE_SECONDS = 0.5


class Desk:
    """One command's surroundings. Asks nobody before the command does."""

    def __init__(self, url: str | None, key: str | None, is_local: bool, is_json: bool) -> None:
        self._url = url or os.environ.get(URL_VARIABLE) or None
        self._key = key or os.environ.get(KEY_VARIABLE) or None
        self._is_local = is_local
        self.is_json = is_json
        self.may_make_ledger = False
        """Where there is no local data yet, the command may begin it."""
        self._api: Api | None = None

    @property
    def api(self) -> Api:
        """The API, at whatever place answers.

        Raises:
            CommandFailed: none does.
        """
        if self._api is None:
            self._api = self._find()
        return self._api

    def close(self) -> None:
        if self._api is not None:
            self._api.close()

    def _find(self) -> Api:
        from proxy.commands.local import data_place

        if self._url and not self._is_local:
            return Api(self._url, self._key)
        is_up = _is_up()
        if self._key and not self._is_local and is_up:
            return Api(DEFAULT_URL, self._key)
        place, is_there = data_place(os.environ)
        if not is_there and not self.may_make_ledger:
            if is_up:
                raise CommandFailed(f"The server at {DEFAULT_URL} needs the admin key: set {KEY_VARIABLE}, or pass --key.")
            raise CommandFailed(
                f"Nobody answers at {DEFAULT_URL}, and there is no ledger at {place}.\n"
                f"Start one with: weighbridge serve. Or say where it is: --url or {URL_VARIABLE} for a server, "
                "WEIGHBRIDGE_DATA_DIR or DATABASE_URL for data on this machine.",
                AWAY,
            )
        return self.local()

    def local(self) -> Api:
        """The API over the local data, told to the person who asked."""
        from proxy.commands.local import LocalApi, data_place

        if not self._is_local:
            tell(f"(no server asked: {data_place(os.environ)[0]})")
        os.environ.setdefault("WEIGHBRIDGE_LOG_LEVEL", "warning")
        return LocalApi(os.environ)


def _is_up() -> bool:
    """Whether anybody listens at the default address."""
    try:
        with socket.create_connection(("127.0.0.1", 8080), CONNECT_PROBE_SECONDS):
            return True
    except OSError:
        return False


def command(app: typer.Typer, name: str, *, filters: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`. It is called with a Desk first, then (where it has filters) their values by the API's
    names, then its own arguments; the options that all commands share are added to its own."""

    def register(call: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(call, include_extras=True)
        skipped = 2 if filters else 1
        own = [one.replace(annotation=hints[one.name]) for one in list(signature(call).parameters.values())[skipped:]]
        extra = [_filter_parameter(word) for word in filters]
        common = [_parameter(word, hint, default) for word, (hint, default) in _COMMON.items()]
        run = _runner(call, filters)
        parameters = [*own, *extra, *common]
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__doc__ = call.__doc__
        run.__name__ = call.__name__
        app.command(name)(run)
        return call

    return register


def _runner(call: Callable[..., None], filters: tuple[str, ...]) -> Callable[..., None]:
    def run(**values: Any) -> None:
        desk = Desk(*(values.pop(word) for word in _COMMON))
        query = {word: values.pop(f"filter_{word}") for word in filters}
        try:
            call(desk, query, **values) if filters else call(desk, **values)
            sys.stdout.flush()
        except CommandFailed as failure:
            tell(str(failure))
            raise typer.Exit(failure.code) from None
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        finally:
            desk.close()

    return run


def _parameter(name: str, annotation: Any, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _filter_parameter(word: str) -> Parameter:
    option = typer.Option(f"--{word}", metavar=word.upper(), help=_FILTER_WORDS[word])
    return _parameter(f"filter_{word}", Annotated[str | None, option], None)


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(no_args_is_help=True, help=text, rich_markup_mode=None, add_completion=False)
