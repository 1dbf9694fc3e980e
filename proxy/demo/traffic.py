"""Present usage of the demo: every person of `people.py` sends a call now and then, through the proxy like anyone else.

Some calls go wrong on purpose (the provider fails or hangs up, the client leaves), some are refused by the demo's limits,
some ask a model without a price: a newcomer should see all of it within minutes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import aiohttp

from proxy.demo.call import Json
from proxy.demo.configuration import DEMO_CONFIG, demo_config
from proxy.demo.history import history
from proxy.demo.people import DEMO_KEYS, PEOPLE, Model, Operation, Person
from proxy.demo.words import make_words

__all__ = ["DEMO_CONFIG", "DEMO_KEYS", "demo_config", "history", "run_traffic"]

MEAN_PAUSE_SECONDS = 6.0
"""Of a person with 40 calls a day; busier ones pause less. The whole crew sends about one call a second."""
INPUT_TOKENS_AT_MOST = 1_500
"""Live calls are smaller than those of the past: the demo should not keep a laptop busy."""
OUTPUT_TOKENS_AT_MOST = 160
CALL_SECONDS = 60.0


async def run_traffic(base_url: str, keys: Mapping[str, str], stop: asyncio.Event, seed: int = 1, pace: float = 1.0) -> None:
    """Send until `stop` is set. `keys` maps users to clear virtual keys (DEMO_KEYS); `pace` 2: all goes twice as fast."""
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        people = [person for person in PEOPLE if person.user in keys]
        await asyncio.gather(
            *(_live(session, base_url.rstrip("/"), keys[person.user], person, stop, seed, pace) for person in people)
        )


async def _live(
    session: aiohttp.ClientSession, base_url: str, key: str, person: Person, stop: asyncio.Event, seed: int, pace: float
) -> None:
    """One person's calls, until the stop."""
    rng = random.Random(f"{seed}:{person.user}")  # noqa: S311 - samples, not secrets
    pause_seconds = MEAN_PAUSE_SECONDS * 40 / person.calls_per_day / pace
    while not await _stopped(stop, rng.expovariate(1 / pause_seconds)):
        operation = rng.choice(person.operations)
        labels = {
            "x-weighbridge-session": f"{person.user}-{rng.getrandbits(32):08x}",
            "x-weighbridge-operation": operation.name,
            "x-weighbridge-operation-id": f"op-{rng.getrandbits(32):08x}",
            "x-weighbridge-tags": f"app={person.key_name}",
        }
        for _ in range(operation.steps):
            model = rng.choices(operation.models, operation.weights)[0]
            await _one_call(session, base_url, key, operation, model, labels, rng, pace)
            if await _stopped(stop, rng.uniform(0.05, 0.5) / pace):
                return


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait; True as soon as the stop is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _one_call(
    session: aiohttp.ClientSession,
    base_url: str,
    key: str,
    operation: Operation,
    model: Model,
    labels: Mapping[str, str],
    rng: random.Random,
    pace: float,
) -> None:
    """Send one request and read its answer, or leave in the middle of it. What goes wrong is in the ledger, not here."""
    is_stream = rng.random() < operation.stream_share or model.api == "gemini.generate_content"
    headers = {"authorization": f"Bearer {key}", "x-demo": _knobs(operation, model, rng, pace), **labels}
    leaves_early = is_stream and rng.random() < 0.03
    query = "?alt=sse" if model.api == "gemini.generate_content" else ""
    body = request_body(operation, model, is_stream, rng)
    try:
        async with session.post(f"{base_url}/{model.provider}{model.path}{query}", json=body, headers=headers) as answer:
            async for _ in answer.content.iter_any():
                if leaves_early:
                    answer.close()
                    return
    except (aiohttp.ClientError, TimeoutError):
        await asyncio.sleep(0.5)  # the proxy is restarting, or the provider was asked to hang up


def _knobs(operation: Operation, model: Model, rng: random.Random, pace: float) -> str:
    """How the fake provider shall answer."""
    words = min(OUTPUT_TOKENS_AT_MOST, round(operation.output_tokens * rng.lognormvariate(0, 0.5)))
    first_byte, delay = rng.uniform(0.1, 0.6) / pace, rng.uniform(0.005, 0.03) / pace
    knobs = [f"words={max(1, words)}", f"first_byte={first_byte:.4f}", f"delay={delay:.4f}"]
    if model.reasons:
        knobs.append(f"reasoning={rng.randint(20, 200)}")
    if model.caches and rng.random() < 0.35:
        knobs.append(f"cached={rng.randint(50, 400)}")
    chance = rng.random()
    if chance < 0.02:
        knobs.append(f"status={rng.choice((429, 500, 529))}")
    elif chance < 0.03:
        knobs.append("cut=5")
    return ", ".join(knobs)


def request_body(operation: Operation, model: Model, is_stream: bool, rng: random.Random) -> Json:
    """A request of about the operation's size, in the model's API."""
    count = max(4, min(INPUT_TOKENS_AT_MOST, round(operation.input_tokens * rng.lognormvariate(0, 0.4))))
    text = "".join(make_words(rng, count))
    if model.api == "openai.responses":
        return {"model": model.name, "input": text, "stream": is_stream}
    if model.api == "openai.embeddings":
        return {"model": model.name, "input": [text]}
    if model.api == "gemini.generate_content":
        return {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    body: Json = {"model": model.name, "messages": [{"role": "user", "content": text}], "stream": is_stream}
    if model.api == "anthropic.messages":
        body["max_tokens"] = 4_096
    return body
