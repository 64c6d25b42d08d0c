"""The recipe's list of corpora in, one stream of conversations out; broken records are counted up to a limit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rejoinder import catalog
from rejoinder.corpora.base import BrokenRecord, Conversation
from rejoinder.corpora.files import sha256_of_remote
from rejoinder.errors import CorpusError
from rejoinder.recipe import PluginSettings
from rejoinder.storage import sha256_of

ROOM = "rejoinder.corpora"
log = logging.getLogger(__name__)


@dataclass
class ReadReport:
    """What was met while reading; filled as the stream is consumed."""

    num_conversations: int = 0
    num_turns: int = 0
    num_unanswered: int = 0
    """Conversations of fewer than two turns: nobody replied, so there is nothing to learn. Passed over."""
    num_broken: int = 0
    first_broken: list[str] = field(default_factory=list)


def fingerprints(corpora: Sequence[PluginSettings]) -> list[dict[str, str]]:
    """Name, path and sha256 of every file that would be read. Raises CorpusError for a missing or empty one."""
    found = []
    for settings in corpora:
        for file in catalog.pick(ROOM, settings.name).files(settings):
            if isinstance(file, str):  # an address
                found.append({"reader": settings.name, "file": file, "sha256": sha256_of_remote(file)})
                continue
            if not file.is_file():
                raise CorpusError(f"{file}: no such file, though the reader {settings.name!r} was told to read it")
            if file.stat().st_size == 0:
                raise CorpusError(f"{file}: the file is empty; there is nothing to learn from")
            found.append({"reader": settings.name, "file": str(file), "sha256": sha256_of(file)})
    return found


def read_corpora(corpora: Sequence[PluginSettings], max_broken: int, report: ReadReport) -> Iterator[Conversation]:
    """Every conversation of every corpus, lazily and in order.

    Raises CorpusError at the first broken record of a corpus beyond `max_broken`, and at the end of a corpus in
    which no conversation was found.
    """
    for settings in corpora:
        num_found, num_broken = 0, 0
        for record in catalog.pick(ROOM, settings.name).read(settings):
            if isinstance(record, BrokenRecord):
                num_broken += 1
                report.num_broken += 1
                report.first_broken += [str(record)] if len(report.first_broken) < 10 else []
                log.warning("skipped a broken record: %s", record)
                if num_broken > max_broken:
                    raise CorpusError(
                        f"{record}; with this one {num_broken} broken records were met, more than "
                        f"data.max_broken_lines = {max_broken}: put the file right or raise the limit"
                    )
                continue
            if len(record.turns) < 2:
                report.num_unanswered += 1
                continue
            num_found += 1
            report.num_conversations += 1
            report.num_turns += len(record.turns)
            yield record
        if num_found == 0:
            where = ", ".join(map(str, catalog.pick(ROOM, settings.name).files(settings)))
            raise CorpusError(
                f"the corpus {settings.name!r} ({where}) holds no conversation of at least two turns; is it the right "
                "file and the right reader?"
            )
