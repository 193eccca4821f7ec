"""A provider that refuses, fails, or does what it is asked and cannot say so: F29 and F30."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.jobs import CarefulPost, Post
from tests.faults.provider import VARIABLE, Provider
from tests.servers.proxy import Proxy
from tests.waiting import until
from tests.workers.site import Site

pytestmark = pytest.mark.faults


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    """A provider that is well until it is told otherwise."""
    with Provider(tmp_path) as provider:
        yield provider


@pytest.mark.parametrize("mood", ["429", "500"])
def test_a_provider_that_says_no_is_not_stormed_and_has_each_effect_once(
    site_without_broker: Site, provider: Provider, mood: str
) -> None:
    """What it refused uses up attempts, what it put off does not; each job asks a few times and then waits."""
    site, jobs = site_without_broker, 20
    provider.be(mood)
    with site.pool(modules=["tests.faults.jobs"], threads=4, environment={VARIABLE: provider.address}):
        posts = [site.publish(Post(n=n)).job_id for n in range(jobs)]
        until(lambda: provider.calls() >= 2 * jobs, timeout_seconds=30, what="some calls")
        until(lambda: len(provider.refused()) == jobs, timeout_seconds=30, what="a no to each job")
        called = provider.calls()
        provider.be("well")
        rows = [site.await_end(job_id, timeout_seconds=30) for job_id in posts]
    assert {row["state"] for row in rows} == {"completed"}
    assert provider.times().total() == len(provider.times()) == jobs
    assert called < 6 * jobs
    assert all((row["attempts"] == 1) == (mood == "429") for row in rows)


@pytest.mark.parametrize("way", ["hang up", "cut"])
def test_an_effect_that_happened_and_was_not_confirmed_is_settled_by_the_declared_policy(
    site_without_broker: Site, provider: Provider, way: str
) -> None:
    """Again under the same key, or a dead letter for a person; never silently one or the other."""
    site = site_without_broker
    with (
        Proxy(f"http://{provider.address}") as proxy,
        site.pool(modules=["tests.faults.jobs"], threads=2, environment={VARIABLE: f"127.0.0.1:{proxy.port}"}),
    ):
        if way == "hang up":
            provider.be("hang up")
        else:
            proxy.to_client.is_blackholed = True
        again, parked = site.publish(Post(n=1)).job_id, site.publish(CarefulPost(n=1)).job_id
        dead = site.await_end(parked)
        until(lambda: provider.times()[f"{again}:post"] >= 2, what="a repetition of the other one")
        provider.be("well")
        proxy.heal()
        done = site.await_end(again)
    assert (done["state"], dead["state"], dead["reason"]) == ("completed", "dead", "outcome_unknown")
    times = provider.times()
    assert times[f"{parked}:post"] == 1
    assert len(times) == 2
