"""Counts that stand in response headers, for bodies that do not say: Bedrock's InvokeModel, Text Generation Inference.

Rules of this file: header names are lower case; the model's own usage in the body always counts first (readings.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.usage.dialects.bedrock import read_headers
from proxy.usage.dialects.fields import count, total
from proxy.usage.tokens import TokenUsage


def read_header_counts(headers: Mapping[bytes, bytes]) -> TokenUsage | None:
    """Usage by the headers of a successful answer; None where they have none."""
    if b"x-amzn-bedrock-input-token-count" in headers:
        return read_headers(headers)
    if b"x-generated-tokens" in headers:  # text-generation-inference router, `/generate` and its compatible root
        output = count(headers[b"x-generated-tokens"].decode("latin-1"))
        input_tokens = count(headers.get(b"x-prompt-tokens", b"").decode("latin-1"))
        if output is not None:
            return TokenUsage(input_tokens, output, total_tokens=total((input_tokens, output)))
    return None
