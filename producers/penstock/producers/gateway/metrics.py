"""What the gateway counts. No label can be made up by a client."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from penstock.schemas.version import __version__

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Problems that say that there is too much to do; they are counted from zero, so that the first one is seen.
SHED = ("busy", "full")
JOBS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class GatewayMetrics:
    """The metrics of one gateway process."""

    def __init__(self) -> None:
        # Else there is a gauge beside each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "penstock_gateway_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "penstock_gateway_request_seconds", "From head to answer", ["route"], buckets=SECONDS, registry=registry
        )
        self._batch = Histogram(
            "penstock_gateway_commit_jobs", "Jobs that were committed together", buckets=JOBS, registry=registry
        )
        self._commit = Histogram(
            "penstock_gateway_commit_seconds", "How long a commit took", buckets=SECONDS, registry=registry
        )
        self._accepted = Counter("penstock_gateway_jobs_accepted", "Receipts given", ["durable"], registry=registry)
        self._duplicates = Counter("penstock_gateway_jobs_duplicates", "Receipts for duplicates", registry=registry)
        self._problems = Counter(
            "penstock_gateway_problems", "Requests refused, by what was wrong", ["code"], registry=registry
        )
        for code in SHED:
            self._problems.labels(code)
        self.connections = Gauge("penstock_gateway_connections", "Open connections", registry=registry)
        self.ready = Gauge("penstock_gateway_ready", "1 while jobs are accepted, else 0", registry=registry)
        info = Gauge("penstock_gateway_info", "Always 1; the label says what runs", ["version"], registry=registry)
        info.labels(__version__).set(1)

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        self._problems.labels(code).inc()

    def committed(self, jobs: int, seconds: float) -> None:
        self._batch.observe(jobs)
        self._commit.observe(seconds)

    def accepted(self, *, durable: str, jobs: int, duplicates: int) -> None:
        self._accepted.labels(durable).inc(jobs)
        self._duplicates.inc(duplicates)
