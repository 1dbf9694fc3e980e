"""How this program starts itself as another process: the same installation, whatever lies in the current directory."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

PYTHON = (sys.executable, "-P")
"""`-P`: what is called proxy.py in the directory where the operator stands is not us."""


def own_environment() -> dict[str, str]:
    """Ours; and where the program runs from a checkout, the other process must find the same one."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    return environment
