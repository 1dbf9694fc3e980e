"""The `weighbridge` command: parse, call, exit code. What it does lives elsewhere.

Exit codes: 0 done · 1 refused (a mistake in the configuration, an address in use, a question answered with no) · 2 wrong usage ·
3 the server or the ledger is away.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import proxy
from proxy.commands import admins, alerts, audit, keys, ledger, limits, prices, reports, switch, users

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A transparent LLM reverse proxy: meters, prices, limits and records every call, and leaves the bytes alone.",
)
audit.register(app)
app.add_typer(admins.app, name="admins")
app.add_typer(alerts.app, name="alerts")
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.add_typer(limits.app, name="limits")
app.add_typer(prices.app, name="prices")
app.add_typer(switch.app, name="switch")
app.add_typer(reports.app, name="usage")
app.add_typer(users.app, name="users")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="DIR", help="Configuration directory. Default: ./config if it exists, else the built-in defaults."
    ),
]


def say(text: str) -> None:
    """To the person at the terminal."""
    print(text)


def stop(text: str) -> typer.Exit:
    """To standard error, and exit code 1."""
    print(text, file=sys.stderr)
    return typer.Exit(1)


def config_directory(config: Path | None) -> Path | None:
    """The directory asked for, else ./config if there is one, else None for the built-in defaults."""
    if config is not None:
        if not config.is_dir():
            raise stop(f"{config}: no such directory. Make one with: weighbridge init {config}")
        return config.absolute()
    default = Path("config")
    return default.absolute() if (default / "providers.yaml").is_file() or (default / "limits.yaml").is_file() else None


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str, typer.Option(metavar="H", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Relay processes. More than one needs REDIS_URL.")] = 1,
    control_port: Annotated[
        int | None, typer.Option(metavar="P", help="Serve /api, /dashboard and /metrics on this port instead of the public one.")
    ] = None,
) -> None:
    """Run the proxy."""
    from proxy.house import run_house

    raise typer.Exit(run_house(config_directory(config), host, port, workers, control_port, os.environ))


@app.command()
def demo(
    host: Annotated[str, typer.Option(metavar="H")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535)] = 8080,
) -> None:
    """Run the proxy with a built-in fake provider, sample users, history and traffic: everything works without a provider's key."""
    from proxy.house import run_demo

    raise typer.Exit(run_demo(host, port, os.environ))


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check the configuration: every mistake with its file, line, column and what to write instead."""
    from proxy.config.load import check as find_mistakes

    directory = config_directory(config)
    mistakes = find_mistakes(directory, os.environ)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes:
        raise stop(f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''} found; nothing was changed.")
    say(f"{directory or 'the built-in configuration'}: in order.")


@app.command()
def init(directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write them.")] = Path("config")) -> None:
    """Write the built-in configuration out, to be edited. Nothing that exists is overwritten."""
    from proxy.config.load import init as write_defaults
    from proxy.errors import ConfigError

    try:
        for path in write_defaults(directory):
            say(f"wrote {path}")
    except (ConfigError, OSError) as error:
        raise stop(str(error)) from None


@app.command()
def version() -> None:
    """Print the version."""
    say(f"weighbridge {proxy.__version__}")


def main() -> None:
    """Entry point. Child processes of the supervisor go straight to their work: typer and rich cost 0.2 s to import."""
    if len(sys.argv) > 1 and sys.argv[1] in ("_worker", "_control", "_demo"):
        from proxy.house import run_child

        sys.exit(run_child(sys.argv[1:], os.environ))
    app()
