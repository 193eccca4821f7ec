"""Breadth-first exploration of all worlds of a model, with shortest counter-examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from time import monotonic

from tests.model.doors import broker_faults, name, operator_steps, producer_steps
from tests.model.keepers import death_steps, dispatcher_steps, keeper_steps
from tests.model.properties import STUCK, is_done, judge
from tests.model.workers import stray_steps, worker_steps
from tests.model.world import Model, Step, World
from tests.model.writes import canonical

WORLDS_MAX = 400_000
ONWARDS_MAX = 16  # steps that are shown after a world from which nothing leads to the end


@dataclass(frozen=True, kw_only=True)
class Exploration:
    worlds: int
    steps: int
    seconds: float
    broken: str = ""  # the property, or nothing
    trace: tuple[str, ...] = ()  # the shortest way there

    def __str__(self) -> str:
        figures = f"{self.worlds} worlds, {self.steps} steps, {self.seconds:.1f} s"
        if not self.broken:
            return f"every property holds ({figures})"
        return "\n".join([f"BROKEN: {self.broken} ({figures})", *self.trace])


def explore(model: Model, *, only: str | None = None) -> Exploration:
    """Every world that the model can reach. Stops at the first that breaks a property (`only`: that property).

    Safety is judged in each world as it is found. Then liveness, by going backwards from the worlds in
    which all is done over the promised steps: from every world there must be such a way.
    """
    return _Explorer(model, only).run()


class _Explorer:
    def __init__(self, model: Model, only: str | None) -> None:
        self.model = model
        self.only = only
        self.began = monotonic()
        start = model.start()
        self.ids = {start: 0}
        self.worlds = [start]
        self.parents: list[tuple[int, str]] = [(-1, "")]
        self.promised_before: list[list[int]] = [[]]
        self.steps = 0

    def run(self) -> Exploration:
        here = 0
        while here < len(self.worlds):
            for step in _steps(self.model, self.worlds[here]):
                self.steps += 1
                broken = self._visit(here, step)
                if broken:
                    return self._report(broken, len(self.worlds) - 1)
            here += 1
            assert here < WORLDS_MAX, "this model is too large: give it smaller budgets"
        stuck = self._find_stuck()
        return self._report("", 0) if stuck is None else self._report(STUCK, stuck)

    def _visit(self, here: int, step: Step) -> str:
        world = canonical(step.world)
        there = self.ids.setdefault(world, len(self.worlds))
        is_new = there == len(self.worlds)
        if is_new:
            self.worlds.append(world)
            self.parents.append((here, step.label))
            self.promised_before.append([])
        if step.promised:
            self.promised_before[there].append(here)
        broken = judge(self.model, world) if is_new else []
        return next((it for it in broken if self.only in (None, it)), "")

    def _find_stuck(self) -> int | None:
        reaches = [is_done(world) for world in self.worlds]
        todo = [there for there, is_in in enumerate(reaches) if is_in]
        while todo:
            for here in self.promised_before[todo.pop()]:
                if not reaches[here]:
                    reaches[here] = True
                    todo.append(here)
        return next((there for there, is_in in enumerate(reaches) if not is_in), None)

    def _report(self, broken: str, there: int) -> Exploration:
        return Exploration(
            worlds=len(self.worlds),
            steps=self.steps,
            seconds=monotonic() - self.began,
            broken=broken,
            trace=tuple(self._trace(there, is_stuck=broken == STUCK)) if broken else (),
        )

    def _trace(self, there: int, *, is_stuck: bool) -> list[str]:
        way: list[tuple[str, World]] = []
        here = there
        while here > 0:
            before, label = self.parents[here]
            way.append((label, self.worlds[here]))
            here = before
        way.reverse()
        if is_stuck:
            way += self._onwards(self.worlds[there])
        return [f"{number:>3}. {label:<72} {_told(world)}" for number, (label, world) in enumerate(way, start=1)]

    def _onwards(self, world: World) -> list[tuple[str, World]]:
        """What still happens by itself in a world that is lost."""
        seen: set[World] = {world}
        way: list[tuple[str, World]] = []
        while len(way) < ONWARDS_MAX:
            nexts = ((s.label, canonical(s.world)) for s in _steps(self.model, world) if s.promised)
            label, world = next((pair for pair in nexts if pair[1] not in seen), ("", world))
            if not label:
                break
            seen.add(world)
            way.append((label, world))
        return way


def _steps(model: Model, world: World) -> Iterator[Step]:
    return chain(
        producer_steps(model, world),
        worker_steps(model, world),
        dispatcher_steps(model, world),
        keeper_steps(model, world),
        stray_steps(model, world),
        death_steps(model, world),
        broker_faults(model, world),
        operator_steps(model, world),
    )


def _told(world: World) -> str:
    """The jobs of a world in one line."""
    told = []
    for j, job in enumerate(world.jobs):
        row = job.row
        if row is None:
            what = "no row" if job.alias_of is None else f"alias of {name(job.alias_of)}"
        else:
            what = row.state.value
            what += f"[{row.token}]" if row.token is not None else ""
            what += f"({row.reason.value})" if row.reason is not None else ""
            what += " dispatched" if row.dispatched_at is not None else ""
        told.append(f"{name(j)}: {what}, {job.copies} queued" + (f", {job.effects} effects" if job.effects else ""))
    return "| " + "; ".join(told)
