"""From a job to the bytes that go over the wire."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from penstock.notifications.address import domain_of
from penstock.notifications.email import SendEmail
from penstock.notifications.settings import NotificationSettings
from penstock.schemas.identifiers import job_id_time

# Not every server takes 8 bits.
WIRE = SMTP.clone(cte_type="7bit")


def message_id(effect_key: str, sender: str) -> str:
    """The same over all attempts of a job, and only of that job: a receiver can tell a repeat from a second mail."""
    return f"<{effect_key.replace(':', '.')}@{domain_of(sender)}>"


def compose(job: SendEmail, *, job_id: str, identity: str, settings: NotificationSettings) -> EmailMessage:
    """The mail of a job under the Message-ID `identity`; byte for byte the same in each attempt.

    Its date is the job's, not the attempt's.
    """
    message = EmailMessage(policy=WIRE)
    message["Message-ID"] = identity
    message["Date"] = format_datetime(job_id_time(job_id))
    message["From"] = Address(settings.smtp_sender_name or "", addr_spec=settings.smtp_sender)
    message["To"] = Address(addr_spec=job.to)
    if job.reply_to is not None:
        message["Reply-To"] = Address(addr_spec=job.reply_to)
    message["Subject"] = job.subject
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notice comes back
    message.set_content(job.text)
    if job.html is not None:
        message.add_alternative(job.html, subtype="html")
        message.set_boundary(f"=_{job_id}")
    return message
