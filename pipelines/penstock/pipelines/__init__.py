"""Contracts of the pipelines. Light: a service that only publishes them needs nothing of the engine.

The handlers are in `penstock.pipelines.handlers`: `penstock worker --jobs penstock.pipelines.handlers`.
"""

from penstock.pipelines.contracts import LoadChunk, LoadCsv

__all__ = ["LoadChunk", "LoadCsv"]
