"""What a check says."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is what to do about it; empty where nothing needs to be done."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, "warning", detail, remedy)


def problem(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, "problem", detail, remedy)


def skipped(check: str, detail: str) -> Finding:
    return Finding(check, "skipped", detail)
