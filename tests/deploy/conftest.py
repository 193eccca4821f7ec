"""The programs of Prometheus."""

from pathlib import Path

import pytest
from tests.conftest import servers_used
from tests.servers.errors import NoServerError
from tests.servers.prometheus import Programs, find_programs


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Programs:
    """Prometheus and promtool."""
    cache = pytestconfig.cache
    assert cache is not None
    try:
        found = find_programs(Path(cache.mkdir("prometheus")))
    except NoServerError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    pytestconfig.stash[servers_used]["Prometheus"] = found.where
    return found
