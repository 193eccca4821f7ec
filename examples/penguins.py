"""The jobs of the demo: each penguin gets a certificate, and a mail that says so.

The loading of the file and the sending of mails come with Penstock; only `Certify` is our own.
"""

from pathlib import Path

from sqlalchemy import text

from penstock.notifications import SendEmail
from penstock.pipelines import LoadCsv
from penstock.schemas import Backoff, Job
from penstock.workers import Context, handler

CSV = Path(__file__).parent / "data" / "penguins-raw.csv"

LOAD = LoadCsv(
    path=CSV.name,
    table="penguins",
    columns={"species": "text", "number": "integer", "island": "text", "mass_g": "integer", "hatched": "date"},
    headings={
        "species": "Species",
        "number": "Sample Number",
        "island": "Island",
        "mass_g": "Body Mass (g)",
        "hatched": "Date Egg",
    },
    required=("species", "number"),
    nulls=("", "NA"),
    other_columns="ignore",
    chunk_rows=10,
)


class Certify(
    Job, type="penguins.certify", queue="penguins", max_attempts=3, retry=Backoff(base_seconds=0.2, cap_seconds=1.0)
):
    """`species` and `number` name a penguin of the file."""

    species: str
    number: int


@handler(Certify)
def certify(job: Certify, ctx: Context) -> None:
    """The certificate, the mail to be sent and this job's completion commit together, or not at all."""
    with ctx.transaction() as connection:
        penguin = connection.execute(
            text("SELECT island, mass_g FROM penguins WHERE species = :species AND number = :number"), job.model_dump()
        ).one()
        words = f"{job.species} no. {job.number} of {penguin.island}: {weight(penguin.mass_g)}"
        connection.execute(
            text("INSERT INTO certificates (species, number, words) VALUES (:species, :number, :words)"),
            job.model_dump() | {"words": words},
        )
        ctx.publish(SendEmail(to=address_of(job.species, job.number), subject="Your certificate", text=words))


def weight(mass_g: int | None) -> str:
    """Two penguins were never weighed."""
    return "not weighed" if mass_g is None else f"{mass_g / 1000:.2f} kg"


def address_of(species: str, number: int) -> str:
    """The mailbox of a penguin: `adelie-7@penguins.example`."""
    return f"{species.split(maxsplit=1)[0].lower()}-{number}@penguins.example"
