"""What the tests of corpus readers share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora, which lie beside some checkouts and are no part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the corpora of {SHARED.relative_to(SHARED.parents[1])} beside the checkout")
    return SHARED
