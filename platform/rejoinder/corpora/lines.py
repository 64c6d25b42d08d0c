"""Files in, their lines out, each with its place, decoded strictly: a byte that is no text is said, never replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from rejoinder.corpora.files import Source, opened, sources
from rejoinder.errors import CorpusError

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is no line: some other kind of file would fill the memory."""


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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a source, with neither its end nor a byte order mark."""

    source: Source
    number: int
    """Counted from 1, blank lines too."""
    content: bytes

    @property
    def place(self) -> str:
        """`file:number`."""
        return f"{self.source}:{self.number}"

    def text(self, encoding: str = "utf-8") -> str:
        """Raises ValueError with a sentence for a byte that is no text in this encoding."""
        try:
            return self.content.decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"byte 0x{self.content[error.start]:02x} at position {error.start + 1} of the line is no {encoding} "
                "text; convert the file (`iconv -t utf-8`), or set the reader's `encoding` if it has one"
            ) from None


def lines_of(source: Source) -> Iterator[Line]:
    """Every line of one source, one at a time."""
    with opened(source) as stream:
        for number, content in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES), b""), start=1):
            if len(content) == MAX_LINE_BYTES:
                raise CorpusError(f"{source}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB; is it text?")
            if number == 1:
                content = content.removeprefix(b"\xef\xbb\xbf")
            yield Line(source, number, content.rstrip(b"\r\n"))


def lines(path: str) -> Iterator[Line]:
    """Every line of every source behind a path, one at a time."""
    for source in sources(path):
        yield from lines_of(source)
