"""What pipelines may read."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock.pipelines.errors import FileNotAllowed


class PipelineSettings(BaseSettings):
    """`PENSTOCK_PIPELINE_DIR`: the folder that files are loaded from, by default the worker's own. Whoever may
    publish a job chooses a file in it, and no other."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", env_file=".env", extra="ignore")

    pipeline_dir: Path = Path()

    def find(self, path: str) -> Path:
        """The file of a job, links resolved; raises `FileNotAllowed`."""
        folder = self.pipeline_dir.resolve()
        try:
            found = (folder / path).resolve()
        except (OSError, ValueError):  # NUL, a loop of links
            raise FileNotAllowed("path is no path") from None
        if not found.is_relative_to(folder):
            raise FileNotAllowed("path leads out of PENSTOCK_PIPELINE_DIR")
        if found.exists() and not found.is_file():  # a pipe would never end
            raise FileNotAllowed("path is not that of a regular file")
        return found
