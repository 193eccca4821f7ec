"""`penstock publish`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from typing import Annotated

import typer

from penstock.console.options import Json, Modules


def publish(
    *,
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="The job type, like orders.ship.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help="The payload, a JSON object; - reads stdin.")],
    key: Annotated[str | None, typer.Option("--key", help="The dedup key: the same key twice means once.")] = None,
    due: Annotated[
        str | None,
        typer.Option("--due", metavar="TIME", help="Not before: 2026-11-23T07:00:00Z, or +30s, +5m, +2h, +1d."),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="The contract's version; default: 1, or the newest."),
    ] = None,
    modules: Modules = None,
    queue: Annotated[
        str | None, typer.Option("--queue", help="The queue; needed where there is neither a broker nor --jobs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish one job and print its receipt.

    Through RabbitMQ where PENSTOCK_BROKER_URL names one, else into the ledger. With --jobs the payload is held
    against the contract first.
    """
    from penstock.console.printing import print_facts, print_json
    from penstock.console.publishing import Order, place

    receipt = place(
        Order(
            type=job_type, payload=payload, key=key, due=due, version=version, modules=tuple(modules or ()), queue=queue
        )
    )
    if as_json:
        print_json(
            {
                "job_id": receipt.job_id,
                "type": job_type,
                "key": receipt.key,
                "durability": receipt.durability,
                "confirmed_at": receipt.confirmed_at,
                "duplicate": receipt.duplicate,
            }
        )
    else:
        survives = {"broker": "what a quorum of RabbitMQ survives", "ledger": "the loss of the broker too"}
        said = {
            True: "yes: this job came first under the key, and nothing runs besides",
            False: "no: it is the first under this key",
            None: "not known before a worker claims it: `penstock jobs show` tells",
        }
        print_facts(
            [
                ("job", receipt.job_id),
                ("key", receipt.key if receipt.key != receipt.job_id else ""),
                ("receipt", f"{receipt.durability}: survives {survives[receipt.durability]}"),
                ("duplicate", said[receipt.duplicate] if key is not None else ""),
            ]
        )
