"""Which limits apply to whom: the documents' nested limits to flat lists of Limit, per caller and model, on demand.

    defaults → tier → user → override     per-user limits on the user's own counters; the more specific one replaces the
                                          less specific per (model pattern, resource, window) and keeps its mode and
                                          on_store_failure unless it has its own
    key, team, global                     further counters; all of them must have room

Every `per_model` pattern that matches a model applies, each with a counter of its own. Model names are compared in
lower case. Nothing is computed before somebody calls: ten thousand users cost nothing until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import translate
from functools import lru_cache
from math import floor
from re import Pattern, compile
from typing import Any
from urllib.parse import unquote

from proxy.config.fields import UNLIMITED
from proxy.limits.limit import NANO_USD, RESOURCES, WINDOWS, Limit
from proxy.routing.callers import Caller
from proxy.rules import MEMO_SIZE, NO_STANDING, Standing

ANY_MODEL = "*"
Place = tuple[str, str, str | None]
"""Model pattern, resource, window: two statements at one place are about the same thing."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A limit as one section states it; what it does not say is None."""

    amount: int | None
    """None: unlimited."""
    mode: str | None
    on_store_failure: str | None
    name: str
    origin: str


def counter_id(scope: str, subject: str, pattern: str, resource: str) -> str:
    """`<scope>:<subject>:<model pattern>:<resource>`; `%` and `:` in a subject are escaped: every id has one reading."""
    if "%" in subject or ":" in subject:
        subject = subject.replace("%", "%25").replace(":", "%3A")
    return f"{scope}:{subject}:{pattern}:{resource}"


def counter_parts(counter: str) -> tuple[str, str, str, str]:
    """scope, subject, model pattern and resource of a counter id: what seeding sums the ledger by."""
    scope, subject, rest = counter.split(":", 2)
    pattern, _, resource = rest.rpartition(":")
    return scope, unquote(subject), pattern, resource


@lru_cache(maxsize=4096)
def _matcher(pattern: str) -> Pattern[str]:
    return compile(translate(pattern))


def statements(holder: Mapping[str, Any], name: str, origin: str = "limits.yaml") -> dict[Place, Stated]:
    """Everything one section says about limits, by place."""
    found: dict[Place, Stated] = {}
    _add_statements(found, holder, ANY_MODEL, name, origin)
    for pattern, limits in holder.get("per_model", {}).items():
        _add_statements(found, limits, pattern.lower(), f"{name}.per_model.{pattern}", origin)
    return found


def _add_statements(found: dict[Place, Stated], limits: Mapping[str, Any], pattern: str, name: str, origin: str) -> None:
    for resource in RESOURCES:
        rule = limits.get(resource)
        if rule is None:
            continue
        if resource == "concurrent_requests":
            found[(pattern, resource, None)] = _stated(rule, {}, resource, f"{name}.{resource}", origin)
            continue
        for window in WINDOWS:
            word = "total" if window == "total" else f"per_{window}"
            if rule.get(word) is not None:
                found[(pattern, resource, window)] = _stated(rule[word], rule, resource, f"{name}.{resource}.{word}", origin)


def _stated(rule: Any, around: Mapping[str, Any], resource: str, name: str, origin: str) -> Stated:
    own = rule if isinstance(rule, Mapping) else {"max": rule}
    return Stated(
        _amount(own["max"], resource),
        own.get("mode", around.get("mode")),
        own.get("on_store_failure", around.get("on_store_failure")),
        name,
        origin,
    )


def _amount(written: Any, resource: str) -> int | None:
    """Whole units; nano-dollars for cost, rounded down so that no limit is larger than written."""
    if written == UNLIMITED:
        return None
    return floor(Decimal(str(written)) * NANO_USD) if resource == "cost_usd" else int(written)


def replace(less: dict[Place, Stated], more: dict[Place, Stated]) -> dict[Place, Stated]:
    """The more specific statements over the less specific ones."""
    if not more:
        return less
    merged = dict(less)
    for place, stated in more.items():
        under = less.get(place)
        if under is not None and (stated.mode is None or stated.on_store_failure is None):
            stated = Stated(
                stated.amount,
                stated.mode or under.mode,
                stated.on_store_failure or under.on_store_failure,
                stated.name,
                stated.origin,
            )
        merged[place] = stated
    return merged


class LimitTable:
    """Answers for `Rules.resolve_*`. Holds the documents and what has been asked for of them.

    Args:
        limits: limits.yaml in canonical form.
        keys: every key, from the file or made through the API, by key_id, in the words of `keys:`.
        overrides: limits set through the API by user, those in force only.
    """

    def __init__(
        self, limits: Mapping[str, Any], keys: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._limits = limits
        self._users: Mapping[str, Any] = limits.get("users", {})
        self._tiers: Mapping[str, Any] = limits.get("tiers", {})
        self._teams: Mapping[str, Any] = limits.get("teams", {})
        self._keys = keys
        self._overrides = overrides
        self._mode = limits.get("mode", "balanced")
        self._on_store_failure = limits.get("on_store_failure", "local")
        self._defaults = statements(limits.get("defaults", {}), "defaults")
        self._tier_statements = {
            name: replace(self._defaults, statements(tier, f"tiers.{name}")) for name, tier in self._tiers.items()
        }
        self._global = self._finish(statements(limits.get("global", {}), "global"), "global", "all")
        self._team_limits: dict[str, tuple[tuple[str, Limit], ...]] = {}
        self._of_caller: dict[Caller, tuple[tuple[str, Limit], ...]] = {}

    def limits(self, caller: Caller, model: str | None) -> tuple[Limit, ...]:
        """Every limit that a call by this caller to this model must fit into."""
        name = None if model is None else model.lower()
        return tuple(
            limit
            for pattern, limit in self._all(caller)
            if pattern == ANY_MODEL or (name is not None and _matcher(pattern).match(name) is not None)
        )

    def all_limits(self, caller: Caller) -> tuple[Limit, ...]:
        """The same for every model pattern at once."""
        return tuple(limit for _, limit in self._all(caller))

    def models(self, caller: Caller) -> tuple[str, ...] | None:
        """The most specific allow-list; what a page may show. `model_lists` is what counts."""
        lists = self.model_lists(caller)
        return lists[0] if lists else None

    def model_lists(self, caller: Caller) -> tuple[tuple[str, ...], ...]:
        """The allow-lists of key, user, tier and team, as far as there are any."""
        standing = self._users.get(caller.user, {})
        tier, team = caller.tier or standing.get("tier"), caller.team or standing.get("team")
        holders = (self._keys.get(caller.key_id or ""), standing, self._tiers.get(tier or ""), self._teams.get(team or ""))
        return tuple(
            tuple(pattern.lower() for pattern in holder["models"])
            for holder in holders
            if holder is not None and "models" in holder
        )

    def standing(self, user: str) -> Standing:
        """Team, tier and priority of a user, listed or not."""
        listed = self._users.get(user)
        if listed is None:
            return NO_STANDING
        tier = listed.get("tier")
        return Standing(listed.get("team"), tier, self.priority(tier))

    def priority(self, tier: str | None) -> str:
        found: str = self._tiers.get(tier or "", {}).get("priority", "normal")
        return found

    def _all(self, caller: Caller) -> tuple[tuple[str, Limit], ...]:
        found = self._of_caller.get(caller)
        if found is None:
            if len(self._of_caller) >= MEMO_SIZE:
                self._of_caller.clear()
            standing = self._users.get(caller.user, {})
            team = caller.team or standing.get("team")
            found = self._of_user(caller, standing) + self._of_key(caller) + (self._of_team(team) if team else ()) + self._global
            self._of_caller[caller] = found
        return found

    def _of_user(self, caller: Caller, standing: Mapping[str, Any]) -> tuple[tuple[str, Limit], ...]:
        tier = caller.tier or standing.get("tier")
        stated = self._tier_statements.get(tier or "", self._defaults)
        stated = replace(stated, statements(standing, f"users.{caller.user}"))
        override = self._overrides.get(caller.user)
        if override is not None:
            stated = replace(stated, statements(override, f"users.{caller.user}", "override"))
        return self._finish(stated, "user", caller.user)

    def _of_key(self, caller: Caller) -> tuple[tuple[str, Limit], ...]:
        key = self._keys.get(caller.key_id or "")
        if key is None or caller.key_id is None:
            return ()
        return self._finish(statements(key, f"keys.{caller.key_name or caller.key_id}"), "key", caller.key_id)

    def _of_team(self, team: str) -> tuple[tuple[str, Limit], ...]:
        found = self._team_limits.get(team)
        if found is None:
            found = self._finish(statements(self._teams.get(team, {}), f"teams.{team}"), "team", team)
            if team in self._teams:
                self._team_limits[team] = found
        return found

    def _finish(self, stated: Mapping[Place, Stated], scope: str, subject: str) -> tuple[tuple[str, Limit], ...]:
        """Statements with a counter and the file's defaults, unlimited ones left out."""
        return tuple(
            (
                pattern,
                Limit(
                    one.name,
                    counter_id(scope, subject, pattern, resource),
                    resource,
                    window,
                    one.amount,
                    one.mode or self._mode,
                    one.on_store_failure or self._on_store_failure,
                    one.origin,
                ),
            )
            for (pattern, resource, window), one in stated.items()
            if one.amount is not None
        )
