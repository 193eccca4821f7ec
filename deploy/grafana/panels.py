"""What the dashboard shows: rows of panels, each with the question that it answers."""

from __future__ import annotations

from dataclasses import dataclass

QUEUE = 'queue=~"$queue"'
RATE = "$__rate_interval"
PER_SECOND = "suffix: /s"
API = 'route=~"/v1/.*"'
FIRING = 'ALERTS{alertname=~"Penstock.*", alertstate="firing"}'
# 0 while somebody counts what is due, else nothing: a dispatcher that is gone must not look like an empty ledger.
NONE_DUE = "max(penstock_due_measured_timestamp_seconds > time() - 60) * 0"
RED, AMBER, GREEN = "red", "orange", "green"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What is asked and how it is drawn. `queries` maps legends to PromQL; units are Grafana's."""

    title: str
    about: str
    queries: dict[str, str]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    """from which value on a stat has which colour"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels that answer one question."""

    title: str
    panels: tuple[Panel, ...]


def per_second(metric: str, *labels: str) -> str:
    """The rate of a counter for the chosen queues, by these labels."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} (rate({metric}{{{QUEUE}}}[{RATE}]))"


def in_range(metric: str) -> str:
    """How often it happened in the time that is shown; a counter that is younger than that began at zero."""
    counter = f"{metric}{{{QUEUE}}}"
    return f"sum(({counter} unless {counter} offset $__range) or increase({counter}[$__range])) or vector(0)"


def per_schedule(metric: str) -> str:
    """How often it happened in the time that is shown, by schedule."""
    return f"sum by (schedule) (({metric} unless {metric} offset $__range) or increase({metric}[$__range]))"


def quantiles(metric: str, *, selector: str = "") -> dict[str, str]:
    """p50, p95 and p99 of a histogram."""
    buckets = f"sum by (le) (rate({metric}_bucket{{{selector}}}[{RATE}]))"
    return {f"p{round(100 * q)}": f"histogram_quantile({q}, {buckets})" for q in (0.5, 0.95, 0.99)}


NOW = Row(
    title="Now",
    panels=(
        Panel(
            title="Alerts",
            about="Alerts of Penstock that fire. What to do stands in docs/operations.md, under the alert's name.",
            queries={"{{alertname}}": f"count by (alertname) ({FIRING}) or on () vector(0)"},
            kind="stat",
            steps=((0, GREEN), (1, RED)),
            width=6,
            height=4,
        ),
        Panel(
            title="Healthy worker processes",
            about="Those that have proved to consume, out of those that there should be.",
            queries={
                "healthy": 'sum(penstock_processes_healthy{kind="worker"})',
                "wanted": 'sum(penstock_processes_wanted{kind="worker"})',
            },
            kind="stat",
            steps=((0, RED), (1, GREEN)),
            width=3,
            height=4,
        ),
        Panel(
            title="Threads in use",
            about="Jobs in flight as a share of all worker threads. Near 100 % the pools are the bottleneck.",
            queries={"": "sum(penstock_jobs_in_flight) / sum(penstock_threads)"},
            kind="stat",
            unit="percentunit",
            steps=((0, GREEN), (0.9, AMBER)),
            width=3,
            height=4,
        ),
        Panel(
            title="Oldest due job",
            about="Due in the ledger, neither dispatched nor claimed.",
            queries={"": f"max(penstock:oldest_due_seconds{{{QUEUE}}}) or {NONE_DUE}"},
            kind="stat",
            unit="s",
            steps=((0, GREEN), (60, AMBER), (300, RED)),
            width=3,
            height=4,
        ),
        Panel(
            title="Waiting",
            about="Due jobs in the ledger, and messages in RabbitMQ.",
            queries={
                "ledger": f"sum(penstock:due_jobs{{{QUEUE}}}) or {NONE_DUE}",
                "RabbitMQ": f"sum(rabbitmq_detailed_queue_messages_ready{{{QUEUE}}})",
            },
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            title="Dead letters",
            about="In the time that is shown.",
            queries={"": in_range("penstock_jobs_dead_total")},
            kind="stat",
            steps=((0, GREEN), (1, RED)),
            width=3,
            height=4,
        ),
        Panel(
            title="Quarantined messages",
            about="In the time that is shown.",
            queries={"": in_range("penstock_messages_quarantined_total")},
            kind="stat",
            steps=((0, GREEN), (1, RED)),
            width=3,
            height=4,
        ),
    ),
)

FLOW = Row(
    title="Do jobs flow?",
    panels=(
        Panel(
            title="Throughput",
            about="Claimed jobs and what became of them; the rest is put off or handed back.",
            queries={
                "claimed": per_second("penstock_jobs_claimed_total"),
                "completed": per_second("penstock_jobs_completed_total"),
                "retried": per_second("penstock_jobs_retried_total"),
                "dead": per_second("penstock_jobs_dead_total"),
            },
            unit=PER_SECOND,
            width=12,
        ),
        Panel(
            title="In flight and threads",
            about="Jobs that run this moment, and how many can.",
            queries={
                "{{pool}} in flight": "sum by (pool) (penstock_jobs_in_flight)",
                "{{pool}} threads": "sum by (pool) (penstock_threads)",
            },
            width=12,
        ),
        Panel(
            title="Wait",
            about="From due, or published, to started.",
            queries=quantiles("penstock_job_wait_seconds", selector=QUEUE),
            unit="s",
        ),
        Panel(
            title="Run",
            about="From started to returned.",
            queries=quantiles("penstock_job_run_seconds", selector=QUEUE),
            unit="s",
        ),
        Panel(
            title="Slowest types",
            about="The 95th percentile of the run time, by type.",
            queries={
                "{{type}}": "topk(10, histogram_quantile(0.95, "
                f"sum by (le, type) (rate(penstock_job_run_seconds_bucket{{{QUEUE}}}[{RATE}]))))"
            },
            unit="s",
        ),
        Panel(
            title="Age of the oldest due job",
            about="In the ledger, neither dispatched nor claimed. It grows when more becomes due than the pools run.",
            queries={"{{queue}}": f"penstock:oldest_due_seconds{{{QUEUE}}}"},
            unit="s",
        ),
        Panel(
            title="Due jobs",
            about="Neither dispatched nor claimed: the backlog. RabbitMQ is given a thousand of a queue at a time.",
            queries={"{{queue}}": f"penstock:due_jobs{{{QUEUE}}}"},
        ),
        Panel(
            title="Dispatch lag",
            about="From due to dispatched: retries, delayed jobs, what the ledger accepted, replays.",
            queries=quantiles("penstock_dispatch_lag_seconds", selector=QUEUE),
            unit="s",
            width=12,
        ),
        Panel(
            title="Published by the dispatcher",
            about="Confirmed by RabbitMQ, and not confirmed: those are tried again.",
            queries={
                "{{queue}}": per_second("penstock_jobs_published_total", "queue"),
                "{{queue}} failed": per_second("penstock_publish_failures_total", "queue"),
            },
            unit=PER_SECOND,
            width=12,
        ),
    ),
)

FAILURES = Row(
    title="What goes wrong?",
    panels=(
        Panel(
            title="Dead letters by reason",
            about="In the 15 minutes before.",
            queries={
                "{{type}} · {{reason}}": f"sum by (type, reason) (penstock:jobs_dead:increase15m{{{QUEUE}}})",
            },
        ),
        Panel(
            title="Retries by type",
            about="Attempts that failed and will be made again.",
            queries={"{{type}}": per_second("penstock_jobs_retried_total", "type")},
            unit=PER_SECOND,
        ),
        Panel(
            title="Quarantine",
            about="Messages that could not be read, by the queue they came through, in the 15 minutes before.",
            queries={"{{queue}}": f"penstock:messages_quarantined:increase15m{{{QUEUE}}}"},
        ),
        Panel(
            title="Duplicates and absorbed deliveries",
            about="Deliveries of jobs that are known already, and those that wait in the ledger (due later, paused).",
            queries={
                "{{queue}} duplicates": per_second("penstock_jobs_duplicates_total", "queue"),
                "{{queue}} absorbed": per_second("penstock_jobs_absorbed_total", "queue"),
            },
            unit=PER_SECOND,
        ),
        Panel(
            title="Put off, handed back, taken away",
            about="Runs that used up no attempt, and outcomes that came too late. Fenced and rescued should be rare.",
            queries={
                "snoozed": per_second("penstock_jobs_snoozed_total"),
                "handed back": per_second("penstock_jobs_released_total"),
                "cancelled": per_second("penstock_jobs_cancelled_total"),
                "rescued": per_second("penstock_jobs_rescued_total"),
                "fenced": per_second("penstock_jobs_fenced_total"),
            },
            unit=PER_SECOND,
        ),
        Panel(
            title="Processes",
            about="Wanted, and healthy: a gap is a process that does no work.",
            queries={
                "{{pool}} {{kind}} wanted": "sum by (pool, kind) (penstock_processes_wanted)",
                "{{pool}} {{kind}} healthy": 'sum by (pool, kind) (penstock_processes_healthy{kind!="monitor"})',
            },
            width=12,
        ),
        Panel(
            title="Processes that died",
            about="Unasked, in the 15 minutes before; they are replaced.",
            queries={"{{pool}} {{kind}}": "penstock:process_deaths:increase15m"},
            width=12,
        ),
    ),
)

UNDERNEATH = Row(
    title="Underneath",
    panels=(
        Panel(
            title="RabbitMQ: ready and unacknowledged",
            about="Messages by queue. Unacknowledged ones are on their way to a claim, never held while a job runs.",
            queries={
                "{{queue}} ready": f"sum by (queue) (rabbitmq_detailed_queue_messages_ready{{{QUEUE}}})",
                "{{queue}} unacknowledged": f"sum by (queue) (rabbitmq_detailed_queue_messages_unacked{{{QUEUE}}})",
            },
        ),
        Panel(
            title="RabbitMQ: consumers",
            about="Consumers by queue: one for each worker process that serves it.",
            queries={"{{queue}}": f"sum by (queue) (rabbitmq_detailed_queue_consumers{{{QUEUE}}})"},
        ),
        Panel(
            title="RabbitMQ: memory",
            about="Beyond the limit RabbitMQ blocks publishers.",
            queries={
                "{{instance}} used": "rabbitmq_process_resident_memory_bytes",
                "{{instance}} limit": "rabbitmq_resident_memory_limit_bytes",
            },
            unit="bytes",
        ),
        Panel(
            title="Jobs per claim",
            about="One round trip and one commit each. Larger batches under load are what makes it fast.",
            queries=quantiles("penstock_claim_batch_jobs"),
        ),
        Panel(
            title="Jobs per settle",
            about="Outcomes that were committed together.",
            queries=quantiles("penstock_settle_batch_jobs"),
        ),
        Panel(
            title="Scrapes that fail",
            about="0 is well.",
            queries={"{{job}} {{service}}": "sum by (job, service) (1 - up)"},
            width=12,
        ),
        Panel(
            title="Releases",
            about="Processes by version: two during a rolling deploy, else one.",
            queries={
                "{{version}}": "count by (version) (penstock_info or penstock_gateway_info or penstock_relay_info)",
            },
            width=12,
        ),
    ),
)

GATEWAY = Row(
    title="Does the gateway take jobs?",
    panels=(
        Panel(
            title="Requests by status",
            about="5xx are ours. 4xx are the clients'; what was wrong is in the panel beside it. Probes are left out.",
            queries={
                "{{status}}": f"sum by (status) (rate(penstock_gateway_requests_total{{{API}}}[{RATE}]))",
            },
            unit=PER_SECOND,
        ),
        Panel(
            title="Refused, by what was wrong",
            about="The `type` of the problem. `busy` and `full`: there is more to do than the gateways can hold.",
            queries={"{{code}}": f"sum by (code) (rate(penstock_gateway_problems_total[{RATE}]))"},
            unit=PER_SECOND,
        ),
        Panel(
            title="Receipts",
            about="By where the job is durable; duplicates are receipts for a job that was known already.",
            queries={
                "{{durable}}": f"sum by (durable) (rate(penstock_gateway_jobs_accepted_total[{RATE}]))",
                "duplicates": f"sum(rate(penstock_gateway_jobs_duplicates_total[{RATE}]))",
            },
            unit=PER_SECOND,
        ),
        Panel(
            title="Time to a receipt",
            about="Of submissions and batches, until the ledger has committed; with `?wait=` until the job's end.",
            queries=quantiles("penstock_gateway_request_seconds", selector='route=~"/v1/jobs|/v1/jobs:batch"'),
            unit="s",
        ),
        Panel(
            title="Commits",
            about="Jobs that come at the same time share one: as long as commits are slow, more share it.",
            queries=quantiles("penstock_gateway_commit_seconds"),
            unit="s",
        ),
        Panel(
            title="Jobs per commit",
            about="How many shared it.",
            queries=quantiles("penstock_gateway_commit_jobs"),
        ),
        Panel(
            title="Gateways that accept jobs",
            about="Ready: the ledger answers, or RabbitMQ takes the jobs.",
            queries={
                "{{service}} ready": "sum by (service) (penstock_gateway_ready)",
                "{{service}} all": "count by (service) (penstock_gateway_ready)",
            },
            width=12,
        ),
        Panel(
            title="Connections",
            about="A gateway has room for a thousand.",
            queries={"{{service}}": "sum by (service) (penstock_gateway_connections)"},
            width=12,
        ),
    ),
)

OUTBOX = Row(
    title="Does the outbox drain?",
    panels=(
        Panel(
            title="Age of the oldest row",
            about="Committed by a service and not published. Seconds at most, unless RabbitMQ or the relay is away.",
            queries={"{{service}}": "max by (service) (penstock_outbox_oldest_seconds)"},
            unit="s",
        ),
        Panel(
            title="Rows",
            about="Waiting, and held because no broker takes them: `penstock outbox list` has the reasons.",
            queries={
                "{{service}} waiting": "max by (service) (penstock_outbox_rows)",
                "{{service}} held": "max by (service) (penstock_outbox_held_rows)",
            },
        ),
        Panel(
            title="Published by the relays",
            about="Confirmed by RabbitMQ and deleted, and not confirmed: those stay.",
            queries={
                "{{service}}": f"sum by (service) (rate(penstock_outbox_published_total[{RATE}]))",
                "{{service}} failed": f"sum by (service) (rate(penstock_outbox_failures_total[{RATE}]))",
            },
            unit=PER_SECOND,
        ),
    ),
)

CLOCK = Row(
    title="Do schedules fire, and replies go out?",
    panels=(
        Panel(
            title="Jobs by the clock",
            about="In the time that is shown, by schedule.",
            queries={"{{schedule}}": per_schedule("penstock_schedule_jobs_total")},
        ),
        Panel(
            title="Missed ticks",
            about="Times in the 15 minutes before that nobody was there to fire them within a minute.",
            queries={"{{schedule}}": "penstock:schedule_late:increase15m"},
        ),
        Panel(
            title="Replies",
            about="To publishers who gave a `reply_to`: confirmed, not confirmed (tried again), and without a queue.",
            queries={
                "{{kind}}": f"sum by (kind) (rate(penstock_replies_sent_total[{RATE}]))",
                "failed": f"sum(rate(penstock_reply_failures_total[{RATE}]))",
                "unheard": f"sum(rate(penstock_replies_unheard_total[{RATE}]))",
            },
            unit=PER_SECOND,
        ),
        Panel(
            title="Replies that are owed",
            about="Those that could be sent now.",
            queries={"waiting": "max(penstock_replies_waiting)"},
            width=12,
        ),
        Panel(
            title="Age of the oldest reply",
            about="Since it could have been sent.",
            queries={"oldest": "max(penstock_oldest_reply_seconds)"},
            unit="s",
            width=12,
        ),
    ),
)

ROWS = (NOW, FLOW, FAILURES, GATEWAY, OUTBOX, CLOCK, UNDERNEATH)
