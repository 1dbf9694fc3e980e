"""OpenAI's images and audio: usage where the model is billed by tokens, else images, seconds of audio or nothing at all.

Images: a `data` list of `url` or `b64_json`; streams end in `image_generation.completed` / `image_edit.completed`. Audio: a `text`
with usage of type `tokens` or `duration`; streams `transcript.text.*` and `speech.audio.*`.
"""

from __future__ import annotations

from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, amount, mapping, mappings, text
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.openai_counts import read_cost_usd, read_counts, read_units

_IMAGE_EVENTS = ("image_generation.", "image_edit.")
_AUDIO_EVENTS = ("transcript.text.", "transcript.", "speech.audio.")


class OpenAIImages:
    """Generated, edited and varied images."""

    api = "openai.images"
    needles = (b'tokens"', b'.completed"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the events' type, or by what the list holds."""
        if (text(event.get("type")) or name).startswith(_IMAGE_EVENTS):
            return True
        items = mappings(event.get("data"))
        return bool(items) and ("b64_json" in items[0] or "url" in items[0])

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event; partial images carry nothing that is billed."""
        kind = text(event.get("type")) or name
        usage = mapping(event.get("usage"))
        found.usage = read_counts(usage) or found.usage
        found.cost_usd = read_cost_usd(usage) or found.cost_usd
        found.set_labels(text(event.get("model")), text(event.get("id")), None)
        found.error = error_text(event) or found.error
        images = len(mappings(event.get("data")))
        if kind.endswith(".completed"):
            images = int(found.units.get("images", 0)) + 1
            found.is_final = True  # and not the end: one more image may follow
        if images:
            found.units["images"] = Decimal(images)


class OpenAIAudio:
    """Transcription, translation, and speech as events."""

    api = "openai.audio"
    needles = (b'tokens"', b'.done"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the events' type, or a text with usage or a duration beside it."""
        if (text(event.get("type")) or name).startswith(_AUDIO_EVENTS):
            return True
        return isinstance(event.get("text"), str) and ("duration" in event or isinstance(event.get("usage"), dict))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event; the last one has the usage."""
        usage = mapping(event.get("usage"))
        found.usage = read_counts(usage) or found.usage
        found.cost_usd = read_cost_usd(usage) or found.cost_usd
        found.units.update(read_units(usage))
        seconds = amount(event.get("duration"))
        if seconds and "audio_seconds" not in found.units:
            found.units["audio_seconds"] = seconds
        found.set_labels(text(event.get("model")), None, None)
        found.error = error_text(event) or found.error
        if (text(event.get("type")) or name) in ("transcript.text.done", "transcription.done", "speech.audio.done"):
            found.has_ended = found.is_final = True
