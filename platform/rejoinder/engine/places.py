"""Rows that join and leave in, a batch without gaps out."""

from __future__ import annotations

from rejoinder.decoding import Row
from rejoinder.engine.request import Request


class Places:
    """Which row stands where in the batch, and whose it is. A row's `place` says where."""

    def __init__(self) -> None:
        self.rows: list[Row | None] = []
        self.requests: list[Request | None] = []
        """None where somebody has left since the last step."""

    def take(self, row: Row, request: Request) -> int:
        """A place for a row, first where somebody has left."""
        if None in self.rows:
            row.place = self.rows.index(None)
            self.rows[row.place], self.requests[row.place] = row, request
        else:
            row.place = len(self.rows)
            self.rows.append(row)
            self.requests.append(request)
        return row.place

    def leave(self, row: Row) -> None:
        """Leaves a gap."""
        self.rows[row.place] = self.requests[row.place] = None

    def close_gaps(self) -> list[tuple[int, int]]:
        """The last rows take the places of those that have left and whom nobody has followed: (place, of place)."""
        copies = []
        for place in [place for place, row in enumerate(self.rows) if row is None]:
            while self.rows and self.rows[-1] is None:
                self.rows.pop()
                self.requests.pop()
            if place >= len(self.rows):
                break
            row = self.rows.pop()
            assert row is not None
            copies.append((place, row.place))
            row.place = place
            self.rows[place], self.requests[place] = row, self.requests.pop()
        return copies
