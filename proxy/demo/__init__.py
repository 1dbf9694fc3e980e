"""`weighbridge demo`: a provider that is not one, and people who use it, so that everything can be seen without a key.

`provider.py` answers like the real APIs, with plausible words and consistent token counts, and keeps a book of what it
answered; tests use it as the far end of every call, and compare the ledger with the book. `traffic.py` sends sample calls,
`history.py` writes sixty days of past ones, `configuration.py` holds the demo's limits. Nothing here is on a real call's way.
"""
