"""Imported first by every job: puts this checkout before any installed copy, and refuses an old Python."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(f"error: Rejoinder needs Python 3.11 or newer, this is {sys.version.split()[0]}; run it with python3.11")

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "platform"), str(CHECKOUT)]
