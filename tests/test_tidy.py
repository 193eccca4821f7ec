"""What a machine can check of how this repository is written. Each finding is reported as file:line."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "ledger", "producers", "workers", "notifications", "pipelines", "console")
LINES_MAX = 400
FUNCTION_LINES_MAX = 70

LONG_FILES: dict[str, str] = {
    # path: why it is better in one piece
}
VAGUE_NAMES = re.compile(r"^_?(common|utils?|helpers?|managers?|base|core|misc)$")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")  # tidy: the words themselves
FOREIGN_PATHS = re.compile(r"(?<![\w.~*}\])-])/(work|root)/")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def test_no_file_of_a_room_is_long_without_a_reason() -> None:
    """A file is one named thing; over 400 lines it is several, unless LONG_FILES says why not."""
    long = [
        f"{path}:{lines} lines, over {LINES_MAX}"
        for path in sources(*ROOMS)
        if (lines := len(text_of(path).splitlines())) > LINES_MAX and path not in LONG_FILES
    ]
    assert_none(long)


def test_every_reason_for_a_long_file_is_still_needed() -> None:
    """An exception goes when the file has become short."""
    assert_none([path for path in LONG_FILES if len(text_of(path).splitlines()) <= LINES_MAX])


def test_no_function_is_longer_than_a_screen() -> None:
    """70 lines at most, in the rooms and around them; a migration is a list, never changed again once released."""
    paths = [path for path in sources() if "/migrations/versions/" not in path]
    functions = ((path, node) for path in paths for node in functions_of(path))
    assert_none(
        [
            f"{path}:{node.lineno} {node.name} has {length(node)} lines, over {FUNCTION_LINES_MAX}"
            for path, node in functions
            if length(node) > FUNCTION_LINES_MAX
        ]
    )


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A name is a noun that an operator would say."""
    parts = ((path, part) for path in sources() for part in Path(path).with_suffix("").parts)
    assert_none([f"{path}:1 the name {part!r} says nothing" for path, part in parts if VAGUE_NAMES.match(part)])


def test_no_test_sleeps() -> None:
    """A test waits on a condition, with `tests.waiting.until`."""
    paths = [path for path in sources("tests") if path != "tests/waiting.py"]
    assert_none([f"{path}:{line} sleeps; use tests.waiting.until" for path in paths for line in sleeps_in(path)])


def test_only_the_console_prints() -> None:
    """Everybody else logs, so that an operator can read it as data."""
    rooms = [room for room in ROOMS if room != "console"]
    calls = ((path, node) for path in sources(*rooms) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
    assert_none([f"{path}:{node.lineno} prints" for path, node in calls if ast.unparse(node.func) == "print"])


def test_nothing_is_marked_as_unfinished() -> None:
    """What is open stands in an issue."""
    assert_none(lines_with(UNFINISHED, "is marked as unfinished"))


def test_no_path_of_one_machine_is_written_down() -> None:
    """A clone works anywhere."""
    assert_none(lines_with(FOREIGN_PATHS, "names a path of one machine"))


def test_every_relative_link_in_the_documents_leads_somewhere() -> None:
    """To a file that exists and, with a #, to a heading in it."""
    assert_none([f"{path}:{line} leads nowhere: {link}" for path, line, link in links() if not leads(path, link)])


def test_every_file_and_command_that_the_documents_name_exists() -> None:
    """Paths into this repository and `make` targets, wherever they stand as code."""
    assert_none([f"{path}:{line} names {name}, which is not there" for path, line, name in missing_names()])


def test_the_checks_find_what_they_look_for() -> None:
    """A check that can find nothing proves nothing."""
    assert UNFINISHED.search("# TODO" + ": later")
    assert FOREIGN_PATHS.search('open("/' + 'work/x")')
    assert not FOREIGN_PATHS.search("deploy/work/x and https://example.org/work/x")
    assert VAGUE_NAMES.match("utils")
    assert [link for _, link in links_in("see [a](b.md) and ![c](d.png)")] == ["b.md", "d.png"]
    assert slug("What `make` does, and why") == "what-make-does-and-why"
    assert list(sleeping_lines(ast.parse("import time\ntime.sleep(1)"))) == [2]
    assert list(sleeping_lines(ast.parse("from time import sleep"))) == [1]


@cache
def tracked() -> list[str]:
    """Every file that is, or is about to be, in the repository."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted({name for name in names if (REPOSITORY / name).is_file()})


def sources(*folders: str) -> list[str]:
    """The Python files below these folders, or all."""
    return [path for path in tracked() if path.endswith(".py") and (not folders or path.split("/")[0] in folders)]


def documents() -> list[str]:
    """The Markdown files."""
    return [path for path in tracked() if path.endswith(".md")]


@cache
def text_of(path: str) -> str:
    """A file's text; nothing for one that is no text."""
    try:
        return (REPOSITORY / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def tree_of(path: str) -> ast.Module:
    """A Python file's syntax tree."""
    return ast.parse(text_of(path), filename=path)


def functions_of(path: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions and methods of a file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_with(pattern: re.Pattern[str], finding: str) -> list[str]:
    """Where the pattern occurs in the repository, but for this file, which must name it."""
    paths = [path for path in tracked() if path != "tests/test_tidy.py"]
    lines = ((path, number, line) for path in paths for number, line in enumerate(text_of(path).splitlines(), start=1))
    return [f"{path}:{number} {finding}: {line.strip()[:100]}" for path, number, line in lines if pattern.search(line)]


def sleeps_in(path: str) -> list[int]:
    """The lines on which a file sleeps."""
    return list(sleeping_lines(tree_of(path)))


def sleeping_lines(tree: ast.Module) -> Iterator[int]:
    """Calls of time.sleep, and imports that would hide one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "time" and any(a.name == "sleep" for a in node.names):
            yield node.lineno


def links() -> Iterator[tuple[str, int, str]]:
    """Each relative link of the documents with its place."""
    for path in documents():
        for line, link in links_in(text_of(path)):
            if not re.match(r"[a-z]+:", link):
                yield path, line, link


def links_in(text: str) -> Iterator[tuple[int, str]]:
    """Each link with its line; code is no link."""
    for number, line in prose(text):
        for match in LINK.finditer(CODE.sub("", line)):
            yield number, match[1]


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines outside of blocks of code."""
    in_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, line


def leads(path: str, link: str) -> bool:
    """Whether a link of the document `path` has an end."""
    name, _, anchor = link.partition("#")
    target = (REPOSITORY / path).parent / name if name else REPOSITORY / path
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in map(slug, HEADING.findall(target.read_text("utf-8")))


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def missing_names() -> Iterator[tuple[str, int, str]]:
    """Files and make targets that the documents name and that do not exist."""
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    folders = {path.split("/")[0] for path in tracked() if "/" in path}
    for path in documents():
        for line, code in pieces_of_code(text_of(path)):
            for word in re.findall(r"\bmake ([a-z]+)\b", code):
                if word not in targets:
                    yield path, line, f"make {word}"
            for word in re.findall(r"(?<![\w./-])[\w.-]+/[\w./-]*\w", code):
                if word.split("/")[0] in folders and not (REPOSITORY / word).exists():
                    yield path, line, word


def pieces_of_code(text: str) -> Iterator[tuple[int, str]]:
    """Inline code, and the lines of blocks that are commands."""
    outside = dict(prose(text))
    for number, line in enumerate(text.splitlines(), start=1):
        if number in outside:
            yield from ((number, code) for code in CODE.findall(line))
        elif re.match(r"\s*(\$ )?(make|python|\.venv/bin/\w+|docker compose) ", line):
            yield number, line


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function has, from its name to its end."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def assert_none(findings: list[str]) -> None:
    """Fail with one finding per line."""
    assert not findings, "\n".join(["", *findings])
