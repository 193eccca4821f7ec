"""Contracts of the notifications. Light: a service that only publishes them needs nothing of the engine.

The handlers are in `penstock.notifications.handlers`: `penstock worker --jobs penstock.notifications.handlers`.
"""

from penstock.notifications.email import SendEmail

__all__ = ["SendEmail"]
