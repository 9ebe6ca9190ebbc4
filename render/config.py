"""Settings of a server, read once: command line over environment (``VOXELCAST_*``) over a TOML file over defaults."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from render.errors import StartupError
from render.memory import default_budget_bytes, parse_bytes
from render.tls import TlsFiles, read_setting_file, read_tls

DEFAULT_HTTP_PORT = 8080
DEFAULT_GRPC_PORT = 50051
DEFAULT_RESCAN_SECONDS = 30.0
DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(?::\d{1,3})?")
"""What ``--device`` may say."""
MIN_TOKEN_CHARACTERS = 16
"""Shorter tokens can be guessed over a network."""


class Settings(BaseSettings):
    """What a server is told when it starts.

    Attributes
    ----------
    roots
        Folders or files that clients may open volumes from. One text is understood as paths with ``os.pathsep``
        between them, as PATH has it, or as a JSON list.
    rescan_seconds
        From one look at the roots for changes to the next; 0 to scan them once.
    host
        Address to bind both ports to. Beyond loopback a token is needed.
    http_port, grpc_port
        0 picks a free one.
    memory_budget_bytes
        For resident volumes; half of the memory there is by default. Text such as ``8GiB`` is understood.
        On cards it is for each of them.
    host_memory_bytes
        Where cards render: for the decoded voxels of their volumes and of those that have left them. Half of the memory
        there is by default.
    device
        ``auto``, ``cpu``, ``cuda`` (all cards) or ``cuda:N``: what renders.
    threads
        That render; None for the cores there are.
    token, token_file
        What clients must present: the token itself, or a file whose first line it is.
    tls_cert, tls_key
        PEM files: the certificate with its chain, and its private key. With both, HTTP, websockets and gRPC speak TLS.
    allow_host, allow_origin
        Host headers and page origins accepted besides the loopback names. One text is understood as names with
        commas between them, or as a JSON list.
    """

    model_config = SettingsConfigDict(env_prefix="VOXELCAST_", extra="forbid", frozen=True)

    roots: Annotated[tuple[Path, ...], NoDecode] = ()
    rescan_seconds: float = Field(DEFAULT_RESCAN_SECONDS, ge=0, le=86400)
    host: str = "127.0.0.1"
    http_port: int = Field(DEFAULT_HTTP_PORT, ge=0, le=65535)
    grpc_port: int = Field(DEFAULT_GRPC_PORT, ge=0, le=65535)
    memory_budget_bytes: int = Field(default_factory=default_budget_bytes, gt=0)
    host_memory_bytes: int = Field(default_factory=default_budget_bytes, gt=0)
    device: str = "auto"
    threads: int | None = Field(None, ge=1, le=1024)
    token: SecretStr | None = None
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_host: Annotated[tuple[str, ...], NoDecode] = ()
    allow_origin: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator("memory_budget_bytes", "host_memory_bytes", mode="before")
    @classmethod
    def _parse_bytes(cls, value: object, info: ValidationInfo) -> object:
        return parse_bytes(value, flag_of(str(info.field_name))) if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        if DEVICE_PATTERN.fullmatch(value) is None:
            raise ValueError("auto, cpu, cuda or cuda:N needed")
        return value

    @field_validator("roots", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return _split(value, os.pathsep) if isinstance(value, str) else value

    @field_validator("allow_host", "allow_origin", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return _split(value, ",") if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line first; the TOML file, where there is one, is appended by `load_settings`."""
        return init_settings, env_settings

    @property
    def given_budget_bytes(self) -> int | None:
        """`memory_budget_bytes` where somebody has set it: the default depends on what renders."""
        return self.memory_budget_bytes if "memory_budget_bytes" in self.model_fields_set else None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def read_token(self) -> str | None:
        """Return the token that clients must present, or None where none is needed.

        Raises
        ------
        StartupError
            If the file can't be read or its token is too short, or the server is to be bound beyond loopback
            without one.
        """
        if self.token is not None and self.token_file is not None:
            raise StartupError("--token and --token-file: one of them")
        if self.token is not None:
            return _checked_token(self.token.get_secret_value(), "--token")
        if self.token_file is not None:
            return _checked_token(_first_line(self.token_file), "--token-file")
        if not self.is_loopback:
            raise StartupError(
                f"--host {self.host} is beyond loopback: give --token-file, or put a TLS proxy with accounts "
                "in front of a loopback address"
            )
        return None

    def read_tls(self) -> TlsFiles | None:
        """Return what the server proves itself with, or None where it speaks plain text.

        Raises
        ------
        StartupError
            If one of the two files is missing, or they are no certificate and its key.
        """
        if self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_cert is None or self.tls_key is None:
            raise StartupError("--tls-cert and --tls-key: both are needed")
        return read_tls(self.tls_cert, self.tls_key)


def _first_line(path: Path) -> str:
    try:
        return read_setting_file("--token-file", path).decode("utf-8").split("\n", 1)[0].strip()
    except UnicodeDecodeError as error:
        raise StartupError(f"--token-file: not UTF-8 text: {path}") from error


def _checked_token(token: str, flag: str) -> str:
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
        raise StartupError(
            f"{flag}: a token of {len(token)} characters; at least {MIN_TOKEN_CHARACTERS} printable ASCII ones needed"
        )
    return token


def flag_of(setting: str) -> str:
    """Return the option that a setting has on the command line."""
    if setting == "roots":
        return "ROOT"
    return "--" + setting.removesuffix("_bytes").removesuffix("_seconds").replace("_", "-")


def _split(text: str, separator: str) -> list[str]:
    if not text.lstrip().startswith("["):
        return [part for item in text.split(separator) if (part := item.strip())]
    try:
        parts = json.loads(text)
    except ValueError:
        parts = None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"a JSON list of texts, or texts with {separator!r} between them, needed")
    return parts


def load_settings(config_file: Path | None, **given: Any) -> Settings:
    """Merge what was given on the command line with the environment and a TOML file.

    Parameters
    ----------
    config_file
        TOML with the names of `Settings`, or None.
    given
        Settings from the command line; None and () mean not given.

    Raises
    ------
    StartupError
        In one line: which setting, what is wrong with it.
    """

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **kwargs: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = super().settings_customise_sources(settings_cls, *args, **kwargs)
            if config_file is None:
                return sources
            return *sources, TomlConfigSettingsSource(settings_cls, config_file)

    if config_file is not None and not config_file.is_file():
        raise StartupError(f"--config: no file {config_file}")
    try:
        return FileSettings(**{name: value for name, value in given.items() if value not in (None, ())})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise StartupError(f"--config: no setting {setting!r}") from error
        flag = flag_of(setting)
        message = first["msg"].removeprefix("Value error, ")
        raise StartupError(f"{flag}: {message} (got {first['input']!r})") from error
    except ValueError as error:
        raise StartupError(f"--config: {error}") from error
