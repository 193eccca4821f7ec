"""The figures of a pool: what survives which death, and what is said on each transport."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest, mmap_dict
from prometheus_client.multiprocess import MultiProcessCollector
from tests.ledger.samples import an_offer, deliver
from tests.waiting import until
from tests.workers import jobs
from tests.workers.site import Site

from penstock.ledger.database import Ledger
from penstock.ledger.jobs import cancel_job
from penstock.producers.ledger_producer import LedgerProducer
from penstock.schemas import Message
from penstock.workers.caretaker_metrics import CaretakerMetrics
from penstock.workers.metric_files import MetricFiles, start_afresh
from penstock.workers.metrics import SAMPLES_MAX, Metrics

FAST = {"rescuer.COUNT_DUE_SECONDS": 0.2}


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """The interpreter changes threads as often as it can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def scraped(folder: Path) -> dict[str, float]:
    """What a monitor would serve."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_replacement_goes_on_with_the_counters_of_its_slot(tmp_path: Path) -> None:
    """And two slots add up."""
    for slot in ("worker-0", "worker-0", "worker-1"):
        Metrics(MetricFiles(tmp_path, slot)).died("default", "worker", "SIGKILL")
    assert scraped(tmp_path)['penstock_process_deaths_total{how="SIGKILL",kind="worker",pool="default"}'] == 3


def test_what_a_dispatcher_saw_is_forgotten_with_it(tmp_path: Path) -> None:
    """Else a queue that was drained while nobody looked would have due jobs for ever."""
    CaretakerMetrics(MetricFiles(tmp_path, "dispatcher-0")).due([("drained", 5, 60.0), ("demo", 2, 1.0)])
    CaretakerMetrics(MetricFiles(tmp_path, "dispatcher-0")).due([("demo", 3, 1.0)])
    due = {name: value for name, value in scraped(tmp_path).items() if name.startswith("penstock_due_jobs")}
    assert due == {'penstock_due_jobs{queue="demo"}': 3}


def test_a_queue_that_was_drained_is_said_to_be_empty(tmp_path: Path) -> None:
    """By the one who saw its jobs."""
    metrics = CaretakerMetrics(MetricFiles(tmp_path, "dispatcher-0"))
    metrics.due([("demo", 2, 1.0)])
    metrics.due([])
    now = scraped(tmp_path)
    assert (now['penstock_due_jobs{queue="demo"}'], now['penstock_oldest_due_seconds{queue="demo"}']) == (0, 0)


def test_what_comes_twice_in_one_batch_is_known_the_second_time(sqlite_url: str, tmp_path: Path) -> None:
    """As it is where it comes a batch later; and one dead letter is one, however often its message comes."""
    folder = tmp_path / "metrics"
    job, first, other = an_offer(), an_offer(b'{"n":1}', key="k"), an_offer(b'{"n":2}', key="k")
    offers = [job, job, first, other, other]
    with Ledger(sqlite_url).session() as session:
        Metrics(MetricFiles(folder, "worker-0")).admitted(offers, deliver(session, *offers), [])
    counted = scraped(folder)
    assert counted['penstock_jobs_claimed_total{queue="demo",type="demo.job"}'] == 2
    assert counted['penstock_jobs_duplicates_total{queue="demo",type="demo.job"}'] == 3
    assert counted['penstock_jobs_dead_total{queue="demo",reason="key_conflict",type="demo.job"}'] == 1


def test_what_is_measured_of_jobs_is_counted_when_it_gets_much(tmp_path: Path) -> None:
    """And not only once a second: a busy process would hold megabytes of it."""
    metrics = Metrics(MetricFiles(tmp_path, "worker-0"))
    metrics.samples.extend([("demo", "demo.job", 0.2, 0.003)] * (SAMPLES_MAX + 1))
    metrics.settled([], set())
    assert len(metrics.samples) == 0
    metrics.samples.append(("demo", "demo.job", 0.2, 0.003))
    metrics.settled([], set())
    assert len(metrics.samples) == 1
    assert scraped(tmp_path)['penstock_job_run_seconds_count{queue="demo",type="demo.job"}'] == SAMPLES_MAX + 1


@pytest.mark.usefixtures("hasty_threads")
def test_two_who_count_at_once_count_each_job_once(tmp_path: Path) -> None:
    """The pulse and the settler do."""
    metrics, turns, jobs_each = Metrics(MetricFiles(tmp_path, "worker-0")), 50, 200

    def measure_and_count() -> None:
        for _ in range(turns):
            metrics.samples.extend([("demo", "demo.job", 0.2, 0.003)] * jobs_each)
            metrics.flush()

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(measure_and_count) for _ in range(4)]:
            done.result()
    counted = scraped(tmp_path)['penstock_job_run_seconds_count{queue="demo",type="demo.job"}']
    assert counted == 4 * turns * jobs_each


def test_a_pool_that_starts_counts_from_zero(tmp_path: Path) -> None:
    """And says since when, so that the first of a kind is seen as one more."""
    Metrics(MetricFiles(tmp_path, "worker-0")).died("default", "worker", "SIGKILL")
    start_afresh(tmp_path)
    now = scraped(tmp_path)
    assert list(now) == ["penstock_started_timestamp_seconds"]
    assert now["penstock_started_timestamp_seconds"] > 1e9


def test_a_process_that_dies_before_its_first_figure_is_written_breaks_no_scrape(tmp_path: Path) -> None:
    """As a job does that crashes its process at once: prometheus-client makes its file empty first, and then long."""
    Metrics(MetricFiles(tmp_path, "worker-0")).died("default", "worker", "SIGSEGV")
    pid = os.fork()
    if pid == 0:
        metrics = Metrics(MetricFiles(tmp_path, "lane-0"))
        mmap_dict.os = SimpleNamespace(fstat=lambda _: os._exit(9))  # type: ignore[assignment,attr-defined]
        metrics.died("default", "lane", "SIGSEGV")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert scraped(tmp_path)['penstock_process_deaths_total{how="SIGSEGV",kind="worker",pool="default"}'] == 1


def test_a_pool_beside_another_of_its_name_leaves_the_figures_of_that_alone(own_small_site: Site) -> None:
    """As at a rolling restart on one host: each serves its own, also when one of them has gone."""
    site = own_small_site
    with site.pool() as old:
        site.run(jobs.Note(name="before"))
        with site.pool() as new:
            assert old.metric("penstock_jobs_completed_total") == 1
            assert new.metric("penstock_jobs_completed_total") == 0
            new.stop()
        site.run(jobs.Note(name="after"))
        until(lambda: old.metric("penstock_jobs_completed_total") == 2, what="the second job to be counted")
    site.close()


def test_metrics_that_cannot_be_read_are_said_to_be_so(own_embedded_site: Site) -> None:
    """With a status and a line of the log, and no figure that is wrong."""
    with own_embedded_site.pool() as pool:
        [folder] = (own_embedded_site.folder / "state" / "metrics").iterdir()
        (folder / "counter_broken-0.db").touch()
        assert pool.get("/metrics") == (500, "the metrics cannot be read: see the log\n")
        assert "struct.error" in pool.await_log("the metrics cannot be read", level="error")["exception"]
    own_embedded_site.close()


def test_what_waits_and_for_how_long_is_told_on_each_transport(fresh_site: Site) -> None:
    """Whether there is a dispatcher or not; and who passes, does."""
    site = fresh_site
    with site.pool(constants=FAST) as pool:
        LedgerProducer(site.database_url).publish_message(Message.raw(type="nobody.runs", body=b"{}"), queue="nobody")
        if site.has_broker:
            until(lambda: pool.metric("penstock_dispatch_lag_seconds_count", queue="nobody") == 1, what="its dispatch")
            until(lambda: pool.metric("penstock_dispatcher_last_pass_timestamp_seconds") > 1e9, what="a pass")
            assert pool.metric("penstock_info", transport="rabbitmq") == 1
        else:
            until(lambda: pool.metric("penstock_due_jobs", queue="nobody") == 1, what="one due job")
            until(lambda: pool.metric("penstock_oldest_due_seconds", queue="nobody") > 0.5, what="its age")
            assert pool.metric("penstock_dispatcher_last_pass_timestamp_seconds") == 0
            assert pool.metric("penstock_info", transport="ledger") == 1
        until(lambda: pool.metric("penstock_rescuer_last_pass_timestamp_seconds") > 1e9, what="a pass of the rescuer")
        assert pool.metric("penstock_due_measured_timestamp_seconds") > 1e9
    site.close()


def test_a_type_that_somebody_made_up_becomes_no_label(own_embedded_site: Site) -> None:
    """Or a million of them would fill the memory of whoever scrapes."""
    site = own_embedded_site
    with site.pool() as pool:
        LedgerProducer(site.database_url).publish_message(Message.raw(type="made.up", body=b"{}"), queue="test")
        until(lambda: pool.metric("penstock_jobs_released_total", type="(unknown)") == 1, what="it to be put back")
        until(lambda: pool.metric("penstock_jobs_claimed_total", type="(unknown)") == 1, what="its claim to be counted")
        assert "made.up" not in pool.get("/metrics")[1]
    site.close()


def test_a_process_that_dies_unasked_is_counted_and_one_that_is_asked_is_not(own_small_site: Site) -> None:
    """With how it died."""
    site = own_small_site
    with site.pool() as pool:
        os.kill(pool.workers()[0], signal.SIGKILL)
        pool.await_log("process died", how="SIGKILL")
        until(lambda: pool.metric("penstock_process_deaths_total", kind="worker", how="SIGKILL") == 1, what="the count")
        site.run(jobs.Note(name="after"))
        until(lambda: "lane" not in pool.children().values(), what="the lane to have ended")
        assert pool.metric("penstock_process_deaths_total") == 1
    site.close()


def test_a_job_that_ignores_its_cancelling_is_counted_once_as_cancelled_and_once_as_fenced(
    own_small_site: Site,
) -> None:
    """Cancelled by the pulse; what its handler says later is dropped."""
    site = own_small_site
    with site.pool(constants={"pulse.CANCEL_GRACE_SECONDS": 0.5}) as pool:
        job_id = site.publish(jobs.Gated(name="deaf")).job_id
        site.sink.await_events("started", job=job_id)
        assert cancel_job(site.session, job_id, actor="test") == "requested"
        assert site.await_end(job_id)["state"] == "cancelled"
        until(lambda: pool.metric("penstock_jobs_cancelled_total", type="test.gated") == 1, what="the cancel")
        site.sink.open_gate("deaf")
        until(lambda: pool.metric("penstock_jobs_fenced_total", type="test.gated") == 1, what="the late outcome")
    site.close()
