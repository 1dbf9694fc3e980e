"""Answers that are given again for a while: fifty dashboards that look at the same sums make them once.

Only to a client that says so (`Cache-Control: max-age=N` in its request, RFC 9111 §5.2.1), as the dashboard's quiet reloads do: who
says nothing gets the sums of this moment. Only of operations whose answer depends on nothing but who may see what and the question
(`Route.is_shared`). A change through this API forgets them all, in the process that made it: other replicas' answers grow old.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from proxy.control.replies import json_body_reply

MAX_AGE_SECONDS = 60.0
MAX_ANSWERS = 256
MAX_ANSWER_BYTES = 1024 * 1024
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})")

Question = tuple[str, str | None, str]
"""What an answer depends on: the asker's role, its user, path and query."""


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    made_at: float


class KeptAnswers:
    """The newest answers to the questions that were asked last."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Question, _Answer] = OrderedDict()
        self.generation = 0
        """Grows with every change that was made through this process."""

    def __contains__(self, question: Question) -> bool:
        """Whether it was asked lately by a client that takes older answers: a newer one replaces it, so that no sum goes back."""
        return question in self._answers

    def find(self, question: Question, age_seconds: float, now: float) -> web.Response | None:
        """An answer that is not older, with its age."""
        found = self._answers.get(question)
        if found is None or not 0 <= now - found.made_at <= age_seconds:
            return None
        return json_body_reply(found.body, headers={"age": str(int(now - found.made_at))})

    def keep(self, question: Question, reply: web.StreamResponse, now: float, generation: int) -> None:
        """Keep a whole, successful answer that was begun at `now`, unless a change, or a newer answer, has come since."""
        newest = self._answers.get(question)
        if generation != self.generation or (newest is not None and newest.made_at > now):
            return
        if not isinstance(reply, web.Response) or reply.status != 200 or not isinstance(reply.body, bytes):
            return
        if len(reply.body) > MAX_ANSWER_BYTES:
            return
        self._answers[question] = _Answer(reply.body, now)
        self._answers.move_to_end(question)
        while len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def forget(self) -> None:
        """Something was changed: no answer holds any more, nor does one that is being made."""
        self.generation += 1
        self._answers.clear()


def accepted_age(headers: Mapping[str, str]) -> float | None:
    """How old an answer may be, in seconds; None where it has to be made for this request."""
    found = _MAX_AGE.search(headers.get("cache-control", "").lower())
    return min(float(found[1]), MAX_AGE_SECONDS) if found else None
