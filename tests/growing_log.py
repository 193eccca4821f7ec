"""A file of JSON lines that another process is writing."""

import json
from pathlib import Path
from typing import Any


def written_lines(path: Path) -> list[dict[str, Any]]:
    """Those that are there whole.

    The last one may be there in part: where it crosses a page, a reader can come in between.
    """
    written, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in written.splitlines()]
