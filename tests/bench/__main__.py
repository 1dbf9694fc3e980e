"""`python -m tests.bench`: see cli.py."""

import sys

from tests.bench.cli import main

sys.exit(main(sys.argv[1:]))
