"""How much of a large request body is media that cannot become as many input tokens as it has bytes.

Rules of this file: only strings in places where a provider reads media count (an image's url, inline data), never text that
looks like it, because the remainder is an upper bound for strict limits. Tool arguments and schemas are text wherever they stand.
Documents (PDF) count in full: their text is compressed, so their bytes bound nothing.

An image counts with at most 49,152 bytes: the dearest known is 48,169 tokens (gpt-4o-mini, high detail, 8 tiles of 5,667 + 2,833:
OpenAI's vision guide, read 2026-11-21). Audio and video count with an eighth of their base64 bytes: Gemini's 32 + 263 tokens a
second (token guide, read 2026-11-21) against the 2.5 KB a second of the thinnest usable video.
"""

from __future__ import annotations

from proxy.usage.request_body import text_bytes

MAX_IMAGE_BYTES = 49_152
AUDIO_VIDEO_SHARE = 8


def bytes_without_media(document: dict[str, object], body_bytes: int, long_strings: tuple[int, ...]) -> int:
    """Body size with each image, sound and film counted at what it can cost at most. Work grows with messages, not with bytes."""
    saved = _images(document.get("images"), long_strings)
    for member in ("messages", "input", "contents"):
        turns = document.get(member)
        if isinstance(turns, dict):
            turns = [turns]
        if not isinstance(turns, list):
            continue
        for turn in turns:
            if isinstance(turn, dict) and (type(turn.get("content")) is not str or "images" in turn):  # plain text: nothing to find
                saved += _turn(turn, long_strings)
    return max(body_bytes - saved, 0)


def _turn(turn: dict[str, object], long_strings: tuple[int, ...]) -> int:
    saved = _part(turn, long_strings)
    for member in ("content", "parts", "output"):
        parts = turn.get(member)
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, dict):
                    saved += _part(part, long_strings)
    if "images" in turn:  # Ollama
        saved += _images(turn["images"], long_strings)
    return saved


def _part(part: dict[str, object], long_strings: tuple[int, ...]) -> int:
    """One content part of any dialect; 0 for all that is or may be text."""
    kind = part.get("type")
    if kind in ("text", "input_text"):
        return 0
    if kind in ("image_url", "input_image"):
        image = part.get("image_url")
        return _image(image.get("url") if isinstance(image, dict) else image, long_strings)
    if kind == "image":
        source = part.get("source")
        return _image(source.get("data") if isinstance(source, dict) else part.get("data"), long_strings)
    if kind == "image_generation_call":
        return _image(part.get("result"), long_strings)
    if kind == "input_audio":
        sound = part.get("input_audio")
        return _sound(sound.get("data") if isinstance(sound, dict) else None, long_strings)
    if kind in ("audio", "video"):
        return _sound(part.get("data"), long_strings)
    if kind == "tool_result":
        return _nested(part.get("content"), long_strings)
    return _untyped_part(part, long_strings) if kind is None else 0


def _untyped_part(part: dict[str, object], long_strings: tuple[int, ...]) -> int:
    """Gemini's and Bedrock's parts name their kind by the member that is there."""
    blob = part.get("inlineData") or part.get("inline_data")
    if isinstance(blob, dict):
        mime = blob.get("mimeType") or blob.get("mime_type")
        if isinstance(mime, str):
            if mime.startswith("image/"):
                return _image(blob.get("data"), long_strings)
            if mime.startswith(("audio/", "video/")):
                return _sound(blob.get("data"), long_strings)
        return 0
    for member, weigh in (("image", _image), ("video", _sound)):
        media = part.get(member)
        source = media.get("source") if isinstance(media, dict) else None
        if isinstance(source, dict):
            return weigh(source.get("bytes"), long_strings)
    result = part.get("toolResult")
    return _nested(result.get("content"), long_strings) if isinstance(result, dict) else 0


def _nested(parts: object, long_strings: tuple[int, ...]) -> int:
    """A tool's result holds parts of its own, but no further results."""
    if not isinstance(parts, list):
        return 0
    inner = (part for part in parts if isinstance(part, dict) and part.get("type") != "tool_result" and "toolResult" not in part)
    return sum(_part(part, long_strings) for part in inner)


def _images(images: object, long_strings: tuple[int, ...]) -> int:
    return sum(_image(image, long_strings) for image in images) if isinstance(images, list) else 0


def _image(payload: object, long_strings: tuple[int, ...]) -> int:
    return max(text_bytes(payload, long_strings) - MAX_IMAGE_BYTES, 0) if isinstance(payload, str) else 0


def _sound(payload: object, long_strings: tuple[int, ...]) -> int:
    if not isinstance(payload, str):
        return 0
    size = text_bytes(payload, long_strings)
    return size - size // AUDIO_VIDEO_SHARE
