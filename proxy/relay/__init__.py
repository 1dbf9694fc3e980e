"""The data plane: bytes in from a client, bytes out to a provider, and back.

`exchange.py` is the way of one request, top to bottom. `downstream.py` is the client's side of the wire, `upstream.py`
the provider's; `answer.py` passes an answer on while the meter reads a copy; `weighing.py` owns what a request holds and
the record it leaves; `admission.py` asks the limits; `refusals.py` says no in the caller's dialect.
"""
