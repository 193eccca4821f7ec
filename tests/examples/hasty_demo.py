"""The demo as it is, but for a first release that has a worse bug than anybody told the judge about."""

import sys
from typing import Any

from examples import demo
from examples.stage import Stage


class HastyStage(Stage):
    """Deploys something else than it was asked to."""

    def start_workers(self, module: str, **size: Any) -> None:
        """The second release is what it should be."""
        super().start_workers(module.replace("examples.first_release", "tests.examples.hasty_release"), **size)


if __name__ == "__main__":
    demo.Stage = HastyStage  # type: ignore[attr-defined]
    sys.exit(demo.main())
