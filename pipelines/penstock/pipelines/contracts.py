"""The contracts: load a file, load a piece of it."""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from penstock.schemas import Backoff, Job

COLUMNS_MAX = 100
CHUNK_ROWS_MAX = 20_000
CHUNK_BYTES_MAX = 8 * 1024 * 1024
# Postgres cuts names at 63 bytes; the longest that is made of one ends in `_rejected`.
IDENTIFIER_LENGTH_MAX = 50
# Columns that every loaded table has: which file and which line a row is from.
SOURCE, LINE = "penstock_source", "penstock_line"

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")

ColumnType = Literal["text", "integer", "float", "date", "boolean"]


def check_identifier(name: str) -> str:
    """Names of tables and columns go into SQL text, where no value can be bound: only plain ones are let in."""
    if not _IDENTIFIER.fullmatch(name) or len(name) > IDENTIFIER_LENGTH_MAX:
        raise ValueError(
            f"must be lower-case letters, digits and '_', not beginning with a digit, "
            f"at most {IDENTIFIER_LENGTH_MAX} characters"
        )
    if name.startswith(("penstock_", "pg_", "sqlite_")):
        raise ValueError("must not begin with penstock_, pg_ or sqlite_")
    return name


def check_one_character(text: str) -> str:
    if len(text.encode()) != 1 or text in '"\r\n\x00':
        raise ValueError("must be one ASCII character, and no quote or line end")
    return text


Identifier = Annotated[str, AfterValidator(check_identifier)]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
ShortText = Annotated[str, StringConstraints(max_length=200)]


class CsvShape(Job):
    """What both jobs say of the file and its table.

    `columns` declares the table: name → type. A column is found in the file by the same heading, or by the one that
    `headings` gives. `required` columns refuse a row without a value; what counts as no value is listed in `nulls`.
    Headings of the file that no column takes are refused, unless `other_columns` says to ignore them.
    """

    path: PathText
    table: Identifier
    columns: dict[Identifier, ColumnType] = Field(min_length=1, max_length=COLUMNS_MAX)
    headings: dict[Identifier, ShortText] = Field(default_factory=dict)
    required: tuple[Identifier, ...] = ()
    nulls: tuple[ShortText, ...] = Field(default=("",), max_length=20)
    delimiter: Annotated[str, AfterValidator(check_one_character)] = ","
    other_columns: Literal["refuse", "ignore"] = "refuse"

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for option, names in (("headings", self.headings), ("required", self.required)):
            if strangers := sorted(set(names) - set(self.columns)):
                raise ValueError(f"{option} names {', '.join(strangers)}, which columns does not declare")
        return self

    def heading_of(self, column: str) -> str:
        return self.headings.get(column, column)


class LoadCsv(
    CsvShape,
    type="pipelines.load_csv",
    version=1,
    queue="pipelines",
    max_attempts=5,
    retry=Backoff(base_seconds=2.0, cap_seconds=300.0),
    timeout_seconds=3600,
    unique_for=timedelta(days=7),
):
    """Load a CSV file into a table of the ledger's database, each row exactly once.

    `path` lies in the pool's `PENSTOCK_PIPELINE_DIR`. The file is UTF-8 and has a line of headings. It is read once
    to plan; the rows are loaded by one `LoadChunk` for each `chunk_rows` of them.
    """

    chunk_rows: int = Field(default=1000, ge=1, le=CHUNK_ROWS_MAX)


class LoadChunk(
    CsvShape,
    type="pipelines.load_chunk",
    version=1,
    queue="pipelines",
    max_attempts=5,
    retry=Backoff(base_seconds=2.0, cap_seconds=300.0),
    timeout_seconds=300,
    unique_for=timedelta(days=7),
):
    """The rows between two byte offsets of a planned file; published by `LoadCsv`."""

    source: Sha256
    first_line: int = Field(ge=1)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    chunk_sha256: Sha256

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if not 0 < self.end - self.start <= CHUNK_BYTES_MAX:
            raise ValueError(f"end must lie after start, by at most {CHUNK_BYTES_MAX} bytes")
        return self
