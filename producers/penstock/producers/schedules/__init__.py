"""Jobs that come by the clock: declared in code, editable at run time, one job for each tick."""

from penstock.producers.schedules.declaration import every

__all__ = ["every"]
