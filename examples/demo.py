"""`make demo`: the whole story on one machine, with real processes, a real mail server and real data.

The pipeline loads a CSV file in chunks; each penguin gets a certificate and a mail; much is published twice; the mail
server says "later" now and then; a release has a bug; a worker process is killed with -9; dead letters are
replayed after the fix. A judge outside of the platform then counts. Exits with 1 if the balance is wrong.

    python examples/demo.py [--keep FOLDER]    the folder must not exist, and is left behind
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

if __package__ in (None, ""):  # started as a script: the folder above is where `examples` is found
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.balance import judge
from examples.evidence import gather
from examples.screen import Screen
from examples.stage import Stage

WORKERS = 3
THREADS = 4
PENGUINS = 344
DUPLICATES = 60
KILL_AFTER_MAILS = 100


def play(folder: Path) -> int:
    """Run the story in a folder; returns the exit status."""
    totals = {"rows": PENGUINS, "certificates": PENGUINS, "mails": PENGUINS}
    with Screen(totals) as screen:
        screen.title(
            "Penstock: 344 penguins, a mail server with moods, a bug, and a kill -9",
            "Embedded: one SQLite file and worker processes, no broker, no server. It ends by itself.",
        )
        with Stage(folder, screen) as stage:
            stage.start_mail_server()
            stage.start_workers("examples.first_release", processes=WORKERS, threads=THREADS)
            screen.say(f"{WORKERS} worker processes with {THREADS} threads each are starting, with the first release")
            load(stage, screen)
            certify(stage, screen)
            bury_and_replay(stage, screen)
        balance = judge(gather(folder))
        screen.balance(balance)
    return 1 if balance.wrong else 0


def load(stage: Stage, screen: Screen) -> None:
    """The pipeline: one job that plans, one for each chunk."""
    for _ in range(2):
        stage.publish_load()
    screen.say("published twice, on purpose: load penguins-raw.csv in chunks of 10 rows")
    rows = stage.wait_until_done()["rows"]
    screen.say(f"{rows} rows are in the table")


def certify(stage: Stage, screen: Screen) -> None:
    """Certificates and mails, with a murder in the middle."""
    stage.publish_certificates()
    stage.publish_certificates(only=DUPLICATES)
    screen.say(f"published: {PENGUINS} certificates to write; {DUPLICATES} of them once more, on purpose")
    stage.wait(lambda counts: counts["mails"] >= KILL_AFTER_MAILS)
    pid, held = stage.kill_busiest_worker()
    screen.say(f"kill -9: worker process {pid}, in the middle of {held} jobs", style="red")
    mails = stage.wait_until_done()["mails"]
    screen.say(f"the others went on, a new process took its place: {mails} mails are out")


def bury_and_replay(stage: Stage, screen: Screen) -> None:
    """Dead letters are found, the bug is fixed, they are replayed."""
    dead = stage.list_dead()
    cause = dead[0]["error"].partition(":")[0] if dead else "nothing"
    screen.say(f"{len(dead)} jobs failed 3 times and are dead letters: a {cause} in the first release", style="yellow")
    stage.stop_workers()
    stage.start_workers("examples.penguins", processes=WORKERS, threads=THREADS)
    screen.say("the fix is deployed: the workers stopped in peace, new ones started")
    replayed = stage.replay_dead()
    screen.say(f"penstock dead replay: {len(replayed)} jobs put back")
    stage.wait_until_done()
    stage.stop_workers()
    screen.say("nothing is left to do")


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole story of Penstock, on this machine.")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="work in this new folder, and leave it behind")
    keep: Path | None = parser.parse_args().keep
    if keep is not None and keep.exists():
        parser.error(f"--keep {keep}: it exists already; name a folder that does not")
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that everything is cleared away
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    try:
        if keep is not None:
            keep.mkdir(parents=True)
            return play(keep)
        with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
            return play(Path(folder))
    except KeyboardInterrupt:
        print("stopped; nothing is left behind" if keep is None else f"stopped; see {keep}", file=sys.stderr)
        return 130
    except (RuntimeError, TimeoutError) as error:
        print(f"the demo could not be played: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
