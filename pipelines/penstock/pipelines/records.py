"""CSV records with the places where they begin and end in the file.

The csv module says where a record ends, also when quoted fields hold line ends; the bytes are counted as it takes
them, line by line. A file is read alike from its beginning and from any offset at which a record begins.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from penstock.pipelines.errors import FileNotCsv

LINE_BYTES_MAX = 1024 * 1024
RECORD_BYTES_MAX = 4 * 1024 * 1024  # a chunk holds at least one
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its fields, or why it has none. `line` is where it begins, counted from 1.

    `start` and `end` are byte offsets; `raw` is what lies between them. Bytes that are not UTF-8 are lone surrogates
    in the fields.
    """

    line: int
    start: int
    end: int
    raw: bytes
    fields: list[str]
    problem: str | None = None


class Records:
    """The records from `start`, an offset at which one begins on line number `line`, up to `end`.

    Skips empty lines and a byte order mark. Iterating raises `FileNotCsv` for a line or record without end.
    `sha256` is that of all bytes taken so far.
    """

    def __init__(
        self, file: BinaryIO, *, delimiter: str, start: int = 0, end: int | None = None, line: int = 1
    ) -> None:
        file.seek(start)
        self.sha256 = hashlib.sha256()
        self._file = file
        self._end = end
        self._offset = start
        self._line = line
        self._taken: list[bytes] = []
        self._taken_bytes = 0
        self._reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[Record]:
        while True:
            start, line = self._offset, self._line
            self._taken, self._taken_bytes = [], 0
            fields: list[str] = []
            problem = None
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                problem = f"not CSV: {error}"
            if fields or problem:
                yield Record(line, start, self._offset, b"".join(self._taken), fields, problem)

    def _lines(self) -> Iterator[str]:
        while self._end is None or self._offset < self._end:
            raw = self._file.readline(LINE_BYTES_MAX + 1)
            if not raw:
                return
            if len(raw) > LINE_BYTES_MAX:
                raise FileNotCsv(f"line {self._line} is longer than {LINE_BYTES_MAX} bytes")
            self._taken.append(raw)
            self.sha256.update(raw)
            self._taken_bytes += len(raw)
            if self._taken_bytes > RECORD_BYTES_MAX:
                begun = self._line - len(self._taken) + 1
                raise FileNotCsv(f"the record that begins on line {begun} is longer than {RECORD_BYTES_MAX} bytes")
            text = raw.removeprefix(BOM) if self._offset == 0 else raw
            self._offset += len(raw)
            self._line += 1
            yield text.decode("utf-8", "surrogateescape")
