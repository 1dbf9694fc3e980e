"""What a provider said it used: bytes in, facts out. No I/O, no clock, no globals.

`request_facts` reads a request, `Meter` reads a copy of an answer as it passes, `dialects/` holds one file per wire
format, `framing/` cuts bytes into events. Nothing here can change or delay a byte that a client gets.
"""
