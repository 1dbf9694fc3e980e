"""Weighbridge: a transparent LLM reverse proxy that weighs, prices and limits every call and leaves the bytes alone.

Bytes pass through untouched; all we know about them is computed on a ground floor that cannot do I/O; only adapters
touch the world; `relay/exchange.py` shows the way a request takes.
"""

__version__ = "0.1.0"
