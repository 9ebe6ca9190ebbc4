"""How to reach a server: address, TLS, token."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc

from voxelcast.errors import InvalidArgumentError

Metadata: TypeAlias = tuple[tuple[str, str], ...]

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A server that vanished without a word is noticed. Servers take pings more often than every 5 minutes for abuse.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A server that was restarted is found again soon; grpc's own back-off goes up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 4_000),
    # A list of tens of thousands of volumes; frames come in chunks of 1 MiB.
    ("grpc.max_receive_message_length", 16 << 20),
    # Two clients in one process are two clients: their connections end apart.
    ("grpc.use_local_subchannel_pool", 1),
)


def client_name() -> str:
    """Return name and version of this program, for the server's logs."""
    try:
        return f"voxelcast-python/{importlib.metadata.version('voxelcast')}"
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "voxelcast-python"


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and how to speak to it.

    Attributes
    ----------
    address
        ``host:port``.
    token
        Sent as ``authorization: Bearer ...`` with every call; empty for none.
    tls
        Whether the connection is encrypted.
    ca_file
        PEM certificates to trust instead of the system's; implies `tls`.
    """

    address: str
    token: str = field(default="", repr=False)
    tls: bool = False
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        # Without a port gRPC takes that of HTTPS.
        is_bare = ":" not in self.address and not (self.tls or self.ca_file)
        if not self.address.strip() or "://" in self.address or is_bare:
            raise InvalidArgumentError(f"address {self.address!r}: host:port needed, localhost:50051 say")
        if not self.token.isascii() or not (self.token.isprintable()):
            raise InvalidArgumentError("token: printable ASCII needed")

    @property
    def metadata(self) -> Metadata:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """For a TLS channel; None for a plain one.

        Raises
        ------
        InvalidArgumentError
            If `ca_file` can't be read.
        """
        if self.ca_file is None:
            return grpc.ssl_channel_credentials() if self.tls else None
        try:
            return grpc.ssl_channel_credentials(self.ca_file.read_bytes())
        except OSError as error:
            raise InvalidArgumentError(f"ca_file {self.ca_file}: {error.strerror}") from error


def endpoint(address: str, token: str | None, tls: bool, ca_file: str | Path | None) -> Endpoint:
    """Build an `Endpoint` from what a client's constructor is given."""
    return Endpoint(address, token or "", tls or ca_file is not None, None if ca_file is None else Path(ca_file))


def channel_to(endpoint: Endpoint) -> grpc.Channel:
    """Open a synchronous channel. It connects when the first call is made."""
    credentials = endpoint.credentials
    if credentials is None:
        return grpc.insecure_channel(endpoint.address, CHANNEL_OPTIONS)
    return grpc.secure_channel(endpoint.address, credentials, CHANNEL_OPTIONS)
