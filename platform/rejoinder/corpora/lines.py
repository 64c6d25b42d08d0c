"""Files in, their lines out, each with its place, decoded strictly: a byte that is no text is said, never replaced.

Of a source that is cut, the lines of the records that begin in its range: from the first line at or after `start` that
begins one, past `stop`, to the next beginning. What reads the ranges of a file in order reads the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Annotated

from pydantic import AfterValidator

from rejoinder.corpora.files import Source, opened, sources
from rejoinder.errors import CorpusError

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is no line: some other kind of file would fill the memory."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLOCK_BYTES = 1 << 20

Begins = Callable[[bytes, bytes], bool]
"""Whether a line begins a record, given the one before it, b"" at the file's beginning; both as they stand."""


def _known(encoding: str) -> str:
    try:
        newline = "\n".encode(encoding)
    except LookupError:
        raise ValueError(f"no encoding is called {encoding!r}; there are: utf-8, cp1252, latin-1, gb18030 …") from None
    if newline != b"\n":
        raise ValueError(f"{encoding} cannot be read line by line; convert the file (`iconv -f {encoding} -t utf-8`)")
    return encoding


Encoding = Annotated[str, AfterValidator(_known)]
"""A field that names how text became bytes; refused at the door where Python does not know it."""


class _Beginning:
    """Where the reading of a source begins; how many lines stand before it is counted when it is asked for."""

    __slots__ = ("_num_lines_before", "offset_bytes", "source")

    def __init__(self, source: Source, offset_bytes: int = 0) -> None:
        self.source, self.offset_bytes = source, offset_bytes
        self._num_lines_before: int | None = None if offset_bytes else 0

    @property
    def num_lines_before(self) -> int:
        if self._num_lines_before is None:
            found, left = 0, self.offset_bytes
            with opened(self.source) as stream:
                while left and (block := stream.read(min(left, _BLOCK_BYTES))):
                    found, left = found + block.count(b"\n"), left - len(block)
            self._num_lines_before = found
        return self._num_lines_before


class Line:
    """One line of a source, with neither its end nor a byte order mark."""

    __slots__ = ("_beginning", "_position", "content")

    def __init__(self, beginning: _Beginning, position: int, content: bytes) -> None:
        self._beginning, self._position, self.content = beginning, position, content

    @property
    def source(self) -> Source:
        """What it is a line of."""
        return self._beginning.source

    @property
    def number(self) -> int:
        """Its number in the whole file, from 1, blank lines too. In a cut source the first call counts lines."""
        return self._beginning.num_lines_before + self._position

    @property
    def is_first(self) -> bool:
        """Whether it is the first of the whole file."""
        return self._position == 1 and self._beginning.offset_bytes == 0

    @property
    def place(self) -> str:
        """`file:number`."""
        return f"{self.source}:{self.number}"

    def __str__(self) -> str:
        return self.place

    def text(self, encoding: str = "utf-8") -> str:
        """Raises ValueError with a sentence for a byte that is no text in this encoding."""
        try:
            return self.content.decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"byte 0x{self.content[error.start]:02x} at position {error.start + 1} of the line is no {encoding} "
                "text; convert the file (`iconv -t utf-8`), or set the reader's `encoding` if it has one"
            ) from None


def every_line(previous: bytes, line: bytes) -> bool:
    """The `Begins` of a format in which a line is a record."""
    return True


def lines_of(source: Source, begins: Begins = every_line) -> Iterator[Line]:
    """Every line of one source, one at a time; of a cut one, the lines of the records that begin in its range."""
    with opened(source) as stream:
        if source.start is None and source.stop is None:
            offset, raw_lines = 0, _raw_lines(stream, source)
        else:
            offset, raw_lines = _in_range(stream, source, begins)
        beginning = _Beginning(source, offset)
        for position, content in enumerate(raw_lines, start=1):
            if position == 1 and offset == 0:
                content = content.removeprefix(BYTE_ORDER_MARK)
            yield Line(beginning, position, content.rstrip(b"\r\n"))


def lines(path: str) -> Iterator[Line]:
    """Every line of every source behind a path, one at a time."""
    for source in sources(path):
        yield from lines_of(source)


def _raw_lines(stream: IO[bytes], source: Source, offset: int = 0) -> Iterator[bytes]:
    for position, content in enumerate(iter(partial(stream.readline, MAX_LINE_BYTES), b""), start=1):
        if len(content) == MAX_LINE_BYTES:
            place = Line(_Beginning(source, offset), position, b"").place
            raise CorpusError(f"{place}: a line of more than {MAX_LINE_BYTES >> 20} MiB; is it text?")
        yield content


def _in_range(stream: IO[bytes], source: Source, begins: Begins) -> tuple[int, Iterator[bytes]]:
    """(where the first record of the range begins, the raw lines from there to the first record after the range)."""
    offset = _next_line(stream, source, source.start) if source.start else 0
    previous = _line_before(stream, offset) if offset and begins is not every_line else b""
    stream.seek(offset)
    raw_lines = _raw_lines(stream, source, offset)
    first = next(raw_lines, b"")
    end = float("inf") if source.stop is None else source.stop
    while first and 0 < offset < end and not begins(previous, first):
        offset, previous, first = offset + len(first), first, next(raw_lines, b"")
    return offset, _to_stop(first, raw_lines, offset, source.stop, begins)


def _to_stop(line: bytes, following: Iterator[bytes], offset: int, stop: int | None, begins: Begins) -> Iterator[bytes]:
    if stop is not None and offset >= stop:
        return
    while line:
        yield line
        offset += len(line)
        previous, line = line, next(following, b"")
        if stop is not None and offset >= stop and begins(previous, line):
            return


def _next_line(stream: IO[bytes], source: Source, start: int) -> int:
    """Where the first line begins that begins at or after `start`, which is not 0."""
    stream.seek(start - 1)
    skipped = next(_raw_lines(stream, source, start - 1), b"")
    return start - 1 + len(skipped)


def _line_before(stream: IO[bytes], offset: int) -> bytes:
    """The whole line that ends where another one begins."""
    num_bytes = 4096
    while True:
        begin = max(0, offset - num_bytes)
        stream.seek(begin)
        before = stream.read(offset - begin)
        at = before.rfind(b"\n", 0, -1)
        if at >= 0 or begin == 0:
            return before[at + 1 :]
        num_bytes *= 2
