"""The operator's commands: each asks the control API and shows its answer, as tables for people or JSON for scripts.

    desk.py      what a command is handed: where to ask, how to show
    api.py       HTTP to the control API, and its failures in words
    local.py     the same API over the local data, where no server runs
    showing.py   tables, JSON, progress
    one file per group of commands

Rules of this room: what a command knows it knows from the API; start-up costs count, so whatever is not needed to read the
command line is imported where it is used. Not here: parsing of `serve`, `check`, `init` (cli.py).
"""
