"""The board: what outlives a process, and who may read it."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.waiting import until

from penstock.workers.board import DRAINED, FREE, LANE, RUNNING, WORKER, Board

OWNER = """
import os, sys
from pathlib import Path
from penstock.workers.board import Board
board = Board.create(Path(sys.argv[1]), pages=2, threads=2)
if os.fork() == 0:
    board.release_lock()
    print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board for two processes of three threads."""
    return Board.create(tmp_path / "test.board", pages=2, threads=3)


def test_a_page_tells_what_was_written_on_it(board: Board) -> None:
    """Each field, without touching its neighbours."""
    first, second = board
    process_id, job_id = str(uuid.uuid4()), str(uuid.uuid4())
    first.occupy(process_id, pid=0, kind=LANE)
    first.pid = 4_000_000
    first.state = RUNNING
    first.wants_lane = True
    first.start(1, job_id, -5, started=1.5, deadline=2.5)
    assert (first.process_id, first.pid, first.kind, first.state) == (process_id, 4_000_000, LANE, RUNNING)
    assert (first.wants_lane, first.retires, first.is_healthy) == (True, False, False)
    [(thread, running)] = first.running().items()
    assert (thread, running.job_id, running.token) == (1, job_id, -5)
    assert (running.started, running.deadline) == (1.5, 2.5)
    assert (second.process_id, second.running(), second.state) == (None, {}, FREE)


def test_a_finished_job_and_a_vacated_page_leave_nothing(board: Board) -> None:
    """Nor does a new owner see what the one before has run."""
    page = board.page(0)
    page.occupy(str(uuid.uuid4()), pid=1, kind=WORKER)
    page.start(0, str(uuid.uuid4()), 1, started=0, deadline=0)
    page.start(2, str(uuid.uuid4()), 2, started=0, deadline=0)
    page.finish(0)
    assert list(page.running()) == [2]
    page.vacate()
    assert page.process_id is None
    page.occupy(str(uuid.uuid4()), pid=1, kind=WORKER)
    assert page.running() == {}


def test_the_signs_of_a_page_are_independent(board: Board) -> None:
    """To retire, to be healthy, to be drained."""
    page = board.page(1)
    page.occupy(str(uuid.uuid4()), pid=1, kind=WORKER)
    page.prove_health(for_seconds=60)
    page.retire()
    page.state = DRAINED
    assert (page.is_healthy, page.retires, page.wants_lane, page.state) == (True, True, False, DRAINED)
    page.prove_health(for_seconds=-1)
    assert not page.is_healthy


def test_a_page_is_seen_by_other_processes_at_once(board: Board) -> None:
    """That is what it is for."""
    child = os.fork()
    if child == 0:
        board.release_lock()
        board.page(0).occupy("00000000-0000-7000-8000-000000000007", pid=7, kind=WORKER)
        os._exit(0)
    os.waitpid(child, 0)
    assert (board.page(0).process_id, board.page(0).pid) == ("00000000-0000-7000-8000-000000000007", 7)


def test_a_board_in_use_is_nobody_elses(board: Board) -> None:
    """Its supervisor lives."""
    with Board.abandoned(board.path) as found:
        assert found is None


def test_a_board_is_free_once_its_supervisor_is_dead_though_its_children_live(tmp_path: Path) -> None:
    """They are stopping by themselves; what died of them must not wait for that."""
    path = tmp_path / "left.board"
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        with Board.abandoned(path) as found:
            assert found is None
        owner.kill()
        owner.wait()
        assert Path(f"/proc/{child}").exists()
        with Board.abandoned(path) as found:
            assert found is not None
            assert found.pages == 2
        assert owner.stdin is not None
        owner.stdin.close()
        until(lambda: not Path(f"/proc/{child}").exists(), what="the child to end")


@pytest.mark.parametrize("content", [b"", b"PENSTOCK", b"x" * 500], ids=["empty", "cut off", "something else"])
def test_a_file_that_is_no_board_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A crash while it was made, or another release's format."""
    path = tmp_path / "odd.board"
    path.write_bytes(content)
    with Board.abandoned(path) as found:
        assert found is None
    with Board.abandoned(tmp_path / "missing.board") as found:
        assert found is None


def test_a_job_id_survives_the_board_whatever_its_bits(board: Board) -> None:
    """The largest token and id fit."""
    page = board.page(0)
    page.occupy(str(uuid.uuid4()), pid=1, kind=WORKER)
    job_id = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    page.start(0, job_id, 2**63 - 1, started=0.0, deadline=float("inf"))
    [running] = page.running().values()
    assert (running.job_id, running.token, running.deadline) == (job_id, 2**63 - 1, float("inf"))
