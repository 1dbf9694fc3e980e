"""The built-in price list, compiled once for all processes.

Making it from genai-prices takes half a second and leaves 80 MB behind; reading it compiled takes milliseconds. So a
process of its own makes it, once per release, and every worker reads it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from proxy.config.own_program import PYTHON, own_environment
from proxy.errors import ConfigError
from proxy.pricing import genai_source
from proxy.pricing.price_data import PriceData

COMPILE_SECONDS = 60.0


def _stamp() -> str:
    """What the compiled list depends on: the list's release and the code that reads it."""
    return f"{version('genai-prices')} {os.stat(genai_source.__file__).st_mtime_ns}"


def ensure_price_list(path: Path) -> None:
    """Have a current compiled list at `path`; 1 ms where there is one, a second where there is not. Blocks.

    Raises:
        ConfigError: it cannot be made.
    """
    if _read(path) is not None:
        return
    try:
        made = subprocess.run(  # noqa: S603 - this program's own module
            [*PYTHON, "-m", __spec__.name, str(path)],
            env=own_environment(),
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"the price list cannot be compiled: {error}") from error
    if made.returncode != 0:
        raise ConfigError(f"the price list cannot be compiled: {made.stderr.strip().splitlines()[-1:]}")


def write_price_list(path: Path) -> None:
    """Compile the list here and put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(_stamp() + "\n" + genai_source.read_price_data().to_snapshot(), encoding="utf-8")
    os.replace(temporary, path)


@lru_cache(maxsize=2)
def price_list(path: Path | None) -> PriceData:
    """The list, from `path` where a current one lies there, else made here."""
    text = _read(path) if path is not None else None
    return genai_source.read_price_data() if text is None else PriceData.from_snapshot(text)


def _read(path: Path) -> str | None:
    """The compiled list; None where there is none, or one of another release."""
    try:
        stamp, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if stamp == _stamp() else None


if __name__ == "__main__":
    write_price_list(Path(sys.argv[1]))
