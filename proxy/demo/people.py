"""Who uses the demo: users, their teams and keys, what they do and with which models.

One table for the past (`history.py`), the present (`traffic.py`) and the configuration (`configuration.py`), so that the
three agree. The keys are public: they open nothing but the demo.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is called: where, by which API, and what answers."""

    provider: str
    """Name in providers.yaml."""
    price_provider: str
    """Name in the price data."""
    api: str
    path: str
    name: str
    response_name: str | None
    """None: answers carry no model name."""
    reasons: bool = False
    caches: bool = False


CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
GPT_5 = Model("openai", "openai", "openai.responses", "/v1/responses", "gpt-5.1", "gpt-5.1", reasons=True, caches=True)
GPT_4O = Model("openai", "openai", "openai.chat", CHAT, "gpt-4o", "gpt-4o-2024-08-06", caches=True)
GPT_4O_MINI = Model("openai", "openai", "openai.chat", CHAT, "gpt-4o-mini", "gpt-4o-mini-2024-07-18", caches=True)
SMALL_EMBEDDING = Model("openai", "openai", "openai.embeddings", EMBED, "text-embedding-3-small", "text-embedding-3-small")
SONNET = Model(
    "anthropic", "anthropic", "anthropic.messages", "/v1/messages", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", caches=True
)
HAIKU = Model(
    "anthropic", "anthropic", "anthropic.messages", "/v1/messages", "claude-haiku-4-5", "claude-haiku-4-5-20251001", caches=True
)
FLASH = Model(
    "gemini",
    "google",
    "gemini.generate_content",
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    "gemini-2.5-flash",
    "gemini-2.5-flash",
    reasons=True,
)
MISTRAL = Model("mistral", "mistral", "openai.chat", CHAT, "mistral-large-latest", "mistral-large-latest")
COMMAND = Model("cohere", "cohere", "cohere.chat", "/v2/chat", "command-a-03-2025", None)
LLAMA = Model("local", "local", "ollama.chat", "/api/chat", "llama3.2", "llama3.2")
UNPRICED = Model("openai", "openai", "openai.chat", CHAT, "weighbridge-demo-1", "weighbridge-demo-1")
"""Made up: no price data knows it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something an application does again and again."""

    name: str
    models: tuple[Model, ...]
    weights: tuple[int, ...]
    input_tokens: int
    """Usual size; single calls spread around it."""
    output_tokens: int
    stream_share: float
    steps: int = 1
    """Calls that make one operation of it (an agent's turns); they share an operation id."""


ASSISTANT = Operation("assistant", (GPT_4O_MINI, SONNET, FLASH), (5, 3, 2), 900, 320, 0.9)
CODE_REVIEW = Operation("code-review", (SONNET, GPT_5), (7, 3), 9_000, 1_100, 0.7, steps=4)
SUMMARISE = Operation("summarise", (GPT_4O_MINI, HAIKU, MISTRAL), (5, 3, 2), 5_500, 380, 0.1)
TRIAGE = Operation("triage", (GPT_4O, GPT_4O_MINI), (7, 3), 450, 24, 0.0)
"""Short answers from a dear model: what a recommendation should find."""
TRANSLATE = Operation("translate", (MISTRAL, COMMAND, GPT_4O_MINI), (5, 3, 2), 600, 560, 0.2)
INDEX = Operation("index-documents", (SMALL_EMBEDDING,), (1,), 6_000, 0, 0.0)
RESEARCH = Operation("deep-research", (GPT_5, SONNET), (6, 4), 22_000, 3_200, 1.0, steps=6)
TINKER = Operation("tinker", (LLAMA, UNPRICED, FLASH), (6, 2, 2), 300, 260, 0.8)


@dataclass(frozen=True, slots=True)
class Person:
    """A user, the key they hold, and a usual working day."""

    user: str
    team: str
    tier: str | None
    key_name: str
    operations: tuple[Operation, ...]
    calls_per_day: int
    is_machine: bool = False
    """Works at night and on Sundays too."""

    @property
    def key(self) -> str:
        """Clear on purpose: it opens nothing but the demo."""
        return f"wb-demo-{self.user}-{self.key_name}"

    @property
    def key_sha256(self) -> str:
        return sha256(self.key.encode()).hexdigest()

    @property
    def key_id(self) -> str:
        return self.key_sha256[:12]


PEOPLE = (
    Person("ada", "research", "premium", "laptop", (RESEARCH, ASSISTANT), 36),
    Person("grace", "research", None, "notebook", (RESEARCH, SUMMARISE, CODE_REVIEW), 24),
    Person("linus", "platform", None, "ci", (CODE_REVIEW, SUMMARISE), 40, is_machine=True),
    Person("margaret", "product", None, "laptop", (ASSISTANT, SUMMARISE), 30),
    Person("alan", "product", None, "prototype", (ASSISTANT, TINKER, TRANSLATE), 26),
    Person("katherine", "support", None, "helpdesk", (TRIAGE, TRANSLATE), 70),
    Person("indexer", "platform", None, "nightly", (INDEX,), 44, is_machine=True),
    Person("intern", "product", None, "first-key", (ASSISTANT, TINKER), 14),
)
DEMO_KEYS = {person.user: person.key for person in PEOPLE}
"""Clear virtual key of each user of the demo."""
