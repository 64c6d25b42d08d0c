"""Imported first by every job: puts this checkout before any installed copy, and refuses an old Python."""

import sys
from importlib.util import find_spec
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(f"error: Rejoinder needs Python 3.11 or newer, this is {sys.version.split()[0]}; run it with python3.11")

if find_spec("ray") is None or find_spec("pydantic") is None:
    sys.exit(f"error: {sys.executable} lacks what Rejoinder needs; run `make test` once, then use .venv/bin/python")

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "platform"), str(CHECKOUT)]
