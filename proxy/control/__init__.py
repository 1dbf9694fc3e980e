"""The control plane: the API, alerts, the dashboard's files and /metrics, in one aiohttp process beside the relay workers.

It may be slow, crash or restart: calls go on without it. One file per resource, each with its `ROUTES`; `app.py` joins
them, `openapi.py` describes them.
"""
