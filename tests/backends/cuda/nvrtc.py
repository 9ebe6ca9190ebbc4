"""The kernels through NVRTC, NVIDIA's run-time compiler, from its wheel: needs neither a card nor a driver."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")
"""A100; H100 and H200; RTX 50 and RTX PRO Blackwell."""

_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    """What a thread of a kernel takes.

    Attributes
    ----------
    registers
        32 bits each.
    stack_bytes, spill_store_bytes, spill_load_bytes
        Of local memory: slow, so best 0.
    """

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int


@dataclass(frozen=True)
class Compiled:
    """A compiled module.

    Attributes
    ----------
    cubin
        Machine code, ELF.
    messages
        What the compiler had to say, without its report of resources.
    usage
        By kernel, from that report; None where it has none.
    """

    cubin: bytes
    messages: str
    usage: dict[str, Usage] | None


class CompilationError(Exception):
    """The compiler refused; the message is its log."""


def library_path() -> Path | None:
    """Return NVRTC's library among the installed wheels, or None."""
    # Not by importing "nvidia": where one of NVIDIA's wheels makes it a package of its own, the others are not in it.
    for folder in sys.path:
        for path in sorted(Path(folder, "nvidia").glob("cu*/lib/libnvrtc.so.*")):
            if "builtins" not in path.name:
                return path
    return None


class Nvrtc:
    """NVRTC's library, loaded."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def compile(self, text: str, name: str, options: Sequence[str], architecture: str) -> Compiled:
        """Compile a module to machine code.

        Raises
        ------
        CompilationError
            If it has errors.
        """
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
        )
        try:
            wanted = [*options, f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
            encoded = (ctypes.c_char_p * len(wanted))(*(option.encode() for option in wanted))
            status = self._library.nvrtcCompileProgram(program, len(wanted), encoded)
            log = self._output("nvrtcGetProgramLogSize", "nvrtcGetProgramLog", program).decode().rstrip("\0")
            if status:
                raise CompilationError(log)
            cubin = self._output("nvrtcGetCUBINSize", "nvrtcGetCUBIN", program)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))
        messages = "\n".join(line for line in log.splitlines() if line.strip() and not line.startswith("ptxas"))
        return Compiled(cubin, messages, usage_in(log))

    def _output(self, size_of: str, get: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._check(self._library[size_of](program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(self._library[get](program, buffer))
        return buffer.raw

    def _check(self, status: int) -> None:
        if status:
            self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise RuntimeError(self._library.nvrtcGetErrorString(status).decode())


def usage_in(log: str) -> dict[str, Usage] | None:
    """Read the report that ``ptxas -v`` makes."""
    found = {
        match["name"]: Usage(*(int(match[part]) for part in ("registers", "stack", "stores", "loads")))
        for match in _ENTRY.finditer(log)
    }
    return found or None
