"""Node.js and npm for the tests that need them: this machine's, else those that a wheel brings along."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def node_environment() -> dict[str, str]:
    """The environment with a PATH on which `node` and `npm` are found.

    Raises:
        AssertionError: there are none.
    """
    environment = dict(os.environ)
    if shutil.which("node") is None or shutil.which("npm") is None:
        scripts = Path(sys.executable).parent
        assert (scripts / "npm").exists(), "no Node.js on PATH and none from a wheel: pip install -e '.[test]'"
        environment["PATH"] = f"{scripts}{os.pathsep}{environment.get('PATH', '')}"
    return environment
