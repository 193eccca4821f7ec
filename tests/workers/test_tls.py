"""RabbitMQ behind TLS: the readers and writers below pika's public interface get their bytes in other pieces there."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.servers.ports import free_port
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.amqp import channel_on, consuming, ready
from tests.workers.test_deliveries import take

from penstock.producers.client import BrokerUnavailable, Publisher
from penstock.schemas import Message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `key.pem` and a certificate of its own for this machine, `certificate.pem`."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.now(UTC), timedelta(days=1)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = builder.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    (folder / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder


@pytest.fixture(scope="module")
def url(certificate: Path) -> Iterator[str]:
    """The `amqps` address of a RabbitMQ with this certificate."""
    port = free_port()
    configuration = [
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.certfile = {certificate / 'certificate.pem'}",
        f"ssl_options.keyfile = {certificate / 'key.pem'}",
        "ssl_options.verify = verify_none",
    ]
    with PrivateRabbitMQ(configuration=configuration) as rabbitmq:
        plain = urlsplit(rabbitmq.url)
        yield plain._replace(scheme="amqps", netloc=f"{plain.netloc.rpartition(':')[0]}:{port}").geturl()


@pytest.mark.faults
def test_what_is_published_over_tls_is_delivered_over_tls(
    url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and in order, small ones and those of many frames, through confirms, acks and a pause."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    sizes = [0, 1, 70_000, 20, 65_536, 300_000, *range(2_000), 131_065, 3]
    messages = [Message.raw(type="test.note", body=b'{"name":"%s"}' % (b"x" * size)) for size in sizes]
    publisher = Publisher(url, timeout_seconds=20)
    with consuming(url, {"test": {"test.note"}}) as deliveries:
        deliveries.set_prefetch(500)
        assert publisher.submit_many(messages).wait().failures == []
        taken = take(deliveries, 1)
        while len(taken) < len(messages):
            taken += take(deliveries, 1)
            deliveries.ack(taken[-1].generation, taken[-1].tag)
        assert [it.body for it in taken] == [it.body for it in messages]
        deliveries.set_prefetch(0)
        until(lambda: ready(url, "test") == 0, what="nothing to have come back")
        with channel_on(url) as channel:
            channel.basic_publish("", "test", b"held")
        deliveries.set_prefetch(1)
        assert [it.body for it in take(deliveries, 1)] == [b"held"]
    publisher.close(timeout_seconds=5)


@pytest.mark.faults
def test_a_certificate_that_nobody_has_vouched_for_is_refused_with_the_remedy(url: str) -> None:
    """At once, and nothing is sent."""
    publisher = Publisher(url, timeout_seconds=20)
    error = publisher.submit(Message.raw(type="test.note", body=b"{}")).exception(timeout=10)
    assert isinstance(error, BrokerUnavailable)
    assert "its TLS certificate cannot be verified: trust its CA" in str(error)
    publisher.close(timeout_seconds=5)
