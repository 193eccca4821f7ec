"""docs/reliability.md says of each promise which test holds it: those tests exist, and nothing is left out."""

import ast
import re
from functools import cache

from tests.workers.pool import REPOSITORY

from penstock.ledger.failpoints import Failpoint

PAGE = (REPOSITORY / "docs" / "reliability.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]


@cache
def names_of_tests() -> set[str]:
    """The names of all test functions."""
    trees = [ast.parse(path.read_text()) for path in (REPOSITORY / "tests").rglob("test_*.py")]
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_every_test_that_the_page_names_exists() -> None:
    """A renamed test takes its row along."""
    assert sorted(set(re.findall(r"`(test_\w+)`", PAGE)) - names_of_tests()) == []


def test_every_failpoint_is_in_the_table_of_crash_points() -> None:
    """And no other."""
    [head] = [index for index, row in enumerate(ROWS) if row[:2] == ["between", "failpoints"]]
    named = {name for row in ROWS[head + 1 :] if len(row) == 4 for name in re.findall(r"`([a-z-]+)`", row[1])}
    assert named == set(Failpoint)


def test_every_case_of_the_matrix_is_there_and_says_what_holds_it() -> None:
    """F01 to F32."""
    held = {row[0]: row[2] for row in ROWS if re.fullmatch(r"F\d\d", row[0]) and len(row) == 3}
    assert list(held) == [f"F{number:02}" for number in range(1, 33)]
    assert [name for name, by in held.items() if "`test_" not in by] == []
