"""All checks, one after another; what one cannot reach does not stop the next."""

from collections.abc import Sequence

from penstock.console.broker import LOCAL, checked_broker_url
from penstock.console.doctor import database, host, rabbitmq, redis
from penstock.console.doctor.finding import Finding, skipped, warning
from penstock.console.exits import Code
from penstock.console.modules import loaded
from penstock.console.printing import one_line, print_json_lines, print_line, print_table
from penstock.console.settings import ConsoleSettings
from penstock.console.surroundings import keep_quiet
from penstock.workers.settings import WorkerSettings


def examine(modules: tuple[str, ...]) -> list[Finding]:
    """Look at everything; raises only for bad input."""
    keep_quiet()
    settings = WorkerSettings()
    broker_url = checked_broker_url(settings.broker_url)
    bindings = loaded(modules, database_url=settings.database_url).bindings() if modules else {}
    findings, waiting = database.check(settings.database_url)
    for queue, types in waiting.items():
        bindings.setdefault(queue, set()).update(types)
    if broker_url != LOCAL and settings.database_url.startswith("sqlite"):
        detail = "an SQLite ledger is for one host, RabbitMQ for many"
        findings.append(warning("ledger and broker", detail, "use Postgres, or PENSTOCK_BROKER_URL=local"))
    if broker_url == LOCAL:
        findings.append(skipped("broker", "none: PENSTOCK_BROKER_URL is local, workers claim from the ledger"))
    else:
        findings += rabbitmq.check(broker_url, bindings, management_url=ConsoleSettings().management_url)
    return [*findings, redis.check(settings.redis_url), *host.check(settings.state_dir)]


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> Code:
    """The table, the remedies below it, and the exit code that they amount to."""
    problems = sum(finding.status == "problem" for finding in findings)
    if as_json:
        print_json_lines(
            {"check": it.check, "status": it.status, "detail": one_line(it.detail), "remedy": it.remedy}
            for it in findings
        )
        return Code.PROBLEM if problems else Code.DONE
    rows = [(it.check, it.status, one_line(it.detail) + (f"\n→ {it.remedy}" if it.remedy else "")) for it in findings]
    print_table(("check", "status", "what was found, and the remedy"), rows, keep=("check", "status"))
    warnings = sum(finding.status == "warning" for finding in findings)
    print_line("")
    print_line(f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}")
    return Code.PROBLEM if problems else Code.DONE


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
