"""What the server proves itself with: a certificate and its key, for HTTP and gRPC alike."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from render.errors import StartupError


@dataclass(frozen=True)
class TlsFiles:
    """A certificate and its key.

    Attributes
    ----------
    private_key, certificate_chain
        PEM, as gRPC takes them; its own least version is TLS 1.2.
    context
        For HTTP and websockets; TLS 1.2 at least. None where only gRPC is served.
    """

    private_key: bytes = field(repr=False)
    certificate_chain: bytes
    context: ssl.SSLContext | None = None


def read_tls(certificate: Path, key: Path) -> TlsFiles:
    """Read a certificate with its chain, and its private key, PEM both.

    Raises
    ------
    StartupError
        If they can't be read, are no certificate and its key, or the key has a passphrase. The message names the flags.
    """
    chain = read_setting_file("--tls-cert", certificate)
    private_key = read_setting_file("--tls-key", key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given, OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except _PassphraseError:
        raise StartupError(f"--tls-key: has a passphrase, which nobody could type here: {key}") from None
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or error.strerror or "not PEM"
        raise StartupError(
            f"--tls-cert and --tls-key: no certificate and its key ({why}): {certificate}, {key}"
        ) from error
    return TlsFiles(private_key, chain, context)


class _PassphraseError(Exception):
    """Raised where a passphrase is asked for."""


def _no_passphrase() -> str:
    raise _PassphraseError


def read_setting_file(flag: str, path: Path) -> bytes:
    """Return the bytes of a file that a flag names.

    Raises
    ------
    StartupError
        If it can't be read; the message names the flag.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise StartupError(f"{flag}: no such file: {path}") from error
    except OSError as error:
        raise StartupError(f"{flag}: can't be read ({error.strerror}): {path}") from error
