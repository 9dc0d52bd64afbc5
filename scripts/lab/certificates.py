"""A certificate authority for tests, and what it issues, as PEM files."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates that are valid today, into files of `folder`."""

    def __init__(self, folder: Path, name: str = "lab authority") -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        *names: str,
        label: str = "",
        password: str = "",
        valid_days: tuple[float, float] = (-1, 1),
        self_signed: bool = False,
    ) -> Issued:
        """A certificate for `names`: DNS names, addresses, or URIs (whatever has `://`).

        `label` names the files; `password` encrypts the key. It is valid from and until so many days from
        now. With `self_signed` it is its own authority, and so not issued by this one at all.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, issuer_key = (label or names[0], key) if self_signed else (self._name, self._key)
        own = issuer_key.public_key()
        certificate = (
            _builder(label or names[0], issuer, key.public_key(), valid_days)
            .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        stem = label or names[0]
        issued = Issued(self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        issued.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        issued.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return issued

    def server_context(self, issued: Issued, seen_names: list[str | None], *, mutual: bool) -> ssl.SSLContext:
        """For a server: its SNIs go to `seen_names`; with `mutual` a client needs a certificate of ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        context.sni_callback = lambda _socket, name, _context: seen_names.append(name)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePublicKey, valid_days: tuple[float, float] = (-1, 1)
) -> x509.CertificateBuilder:
    first, last = valid_days
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=first))
        .not_valid_after(now + dt.timedelta(days=last))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        if "://" in name:
            found.append(x509.UniformResourceIdentifier(name))
            continue
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found
