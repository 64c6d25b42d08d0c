"""What the registry says of one model version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    model: str
    number: int
    run_id: str
    tags: dict[str, str]
    created_s: float = 0.0
    """Seconds since 1970."""

    def __str__(self) -> str:
        return f"models:/{self.model}/{self.number}"
