"""How commands end when they do not succeed.

Exit codes: 0 done · 1 refused, or a question answered with no · 2 wrong usage · 3 nobody answered: trying again may help.
"""

from __future__ import annotations

REFUSED = 1
USAGE = 2
AWAY = 3


class CommandFailed(Exception):
    """Said on standard error as it is; `code` is the exit code."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code
