"""The handlers of the notifications, for `penstock worker --jobs penstock.notifications.handlers`.

If the connection breaks after a mail has been handed over and before the server's answer, nobody knows whether it was
delivered. `send_email` then sends it again under the same Message-ID: the recipient may get it twice, and a receiver
that looks at Message-IDs shows it once. To park such mails as dead letters instead, declare a handler of your own:

```python
@handler(SendEmail, unknown="park")
def send_email(job: SendEmail, ctx: Context) -> None:
    deliver(job, ctx)
```
"""

from penstock.notifications.composition import compose, message_id
from penstock.notifications.email import SendEmail
from penstock.notifications.errors import MailDeferred, MailRefused
from penstock.notifications.settings import NotificationSettings
from penstock.notifications.smtp import MailServer
from penstock.workers import Context, handler


def deliver(job: SendEmail, ctx: Context) -> None:
    """Send one mail, at least once, always under the same Message-ID, and never again once that is on record."""
    settings = NotificationSettings()
    server = MailServer.of(settings)
    with ctx.effect("send", definite=(MailDeferred, MailRefused)) as effect:
        identity = message_id(effect.key, settings.smtp_sender)
        if effect.needed:
            message = compose(job, job_id=ctx.job_id, identity=identity, settings=settings)
            server.send(message, sender=settings.smtp_sender, recipient=job.to)
            ctx.log.info("e-mail sent", message_id=identity, again=effect.repeated)
    ctx.result = {"message_id": identity}


@handler(SendEmail, unknown="retry_same_key")
def send_email(job: SendEmail, ctx: Context) -> None:
    """Over SMTP, as `NotificationSettings` say."""
    deliver(job, ctx)
