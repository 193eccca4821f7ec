"""Run one pool as `penstock worker` does; what it is comes as one JSON argument."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import structlog

from penstock.console import logs
from penstock.schemas import Keyring
from penstock.workers import Pool, Registry
from penstock.workers.supervisor import Supervisor


def main(options: dict[str, Any]) -> int:
    """`constants` maps dotted names in the engine to values that let a test wait for seconds instead of minutes.

    They are those of the workers' room, where they do not say `penstock.`
    """
    for name, value in options.pop("constants").items():
        module, _, constant = name.rpartition(".")
        path = module if module.startswith("penstock.") else f"penstock.workers.{module}"
        setattr(importlib.import_module(path), constant, value)
    logs.configure("DEBUG", as_json=True)
    options |= {"state_dir": Path(options["state_dir"]), "modules": tuple(options["modules"])}
    if options.get("keyring") is not None:
        options["keyring"] = Keyring.parse(options["keyring"])
    if options.get("queues") is not None:
        options["queues"] = tuple(options["queues"])
    pool = Pool(**options)
    registry = Registry.load(pool.modules)
    return Supervisor(pool, registry, log=structlog.get_logger()).run()


if __name__ == "__main__":
    os.setpgid(0, 0)  # the supervisor and its children are one group, so that a test can end them all
    sys.exit(main(json.loads(sys.argv[1])))
