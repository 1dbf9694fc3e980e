"""Names of users that say nothing: a keyed hash in a name's place (`anonymise_users` in server.yaml).

One secret gives one name the same pseudonym everywhere, so that counters, records, alerts and limits still belong together,
and nobody without the secret can tell whose they are or try names out. The users of a caller's own key (`key-…`) are
fingerprints already and stay; a pseudonym stays itself, so that it can be asked for.

Pure. Not here: the secret (config/build.py takes it from the environment).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from hashlib import sha256

PREFIX = "anon-"
HEX_DIGITS = 20
"""80 bits: a million users have no two the same (p < 1e-12)."""
_PLAIN = re.compile(rf"anonymous|{PREFIX}[0-9a-f]{{{HEX_DIGITS}}}|key-[0-9a-f]{{12}}")


def pseudonyms(secret: str) -> Callable[[str], str]:
    """The pseudonym of each name under a secret."""
    key = secret.encode()

    def pseudonym(name: str) -> str:
        if _PLAIN.fullmatch(name):
            return name
        return PREFIX + hmac.new(key, name.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:HEX_DIGITS]

    return pseudonym


def as_named(name: str) -> str:
    """A name as it is: what `Rules.user_name` is where nobody is to be anonymous."""
    return name
