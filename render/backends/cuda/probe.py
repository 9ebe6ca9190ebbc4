"""What there is of CUDA on this machine, found without making anything: driver, CuPy, compiler, cards."""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from render.memory import format_bytes

MIN_FREE_BYTES = 512 << 20
"""A card with less is not used: CUDA's own context takes most of that, and a volume needs as much again."""
NO_DEVICE = 100
"""``cudaErrorNoDevice``: what asking for the number of cards fails with where there is none."""
DRIVER_LIBRARY = "libcuda.so.1"


@dataclass(frozen=True)
class Card:
    """One that ``CUDA_VISIBLE_DEVICES`` leaves; bytes as its driver tells, or why it tells none."""

    index: int
    name: str
    free_bytes: int
    total_bytes: int
    failure: str = ""

    @property
    def reason(self) -> str:
        """Why it can't be used; empty if it can."""
        if self.failure:
            return f"cuda:{self.index} does not answer: {self.failure}"
        if self.free_bytes >= MIN_FREE_BYTES:
            return ""
        return (
            f"cuda:{self.index} has {format_bytes(self.free_bytes)} free of {format_bytes(self.total_bytes)}: "
            f"{format_bytes(MIN_FREE_BYTES)} needed"
        )


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes
    ----------
    driver, runtime, cupy
        Versions: the CUDA that the driver is for, the CUDA that CuPy is for, CuPy's own; empty where unknown.
    cards
        In the driver's order.
    reason
        Why no card can be used, in one line; empty if one can.
    """

    driver: str = ""
    runtime: str = ""
    cupy: str = ""
    cards: tuple[Card, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for ``voxelcast doctor --json``."""
        return {"usable": not self.reason, **asdict(self), "cards": [asdict(card) for card in self.cards]}


def import_with_cache(name: str) -> Any:
    """Import CuPy, told where to keep compiled kernels.

    It makes that folder as it is imported, below the home directory: where there is none, as in a container, it can't
    be imported at all. And kernels are executed, so the folder has to be this user's alone.
    """
    if "CUPY_CACHE_DIR" not in os.environ:
        from render.backends.cpu.kernel_cache import cache_candidates, usable_directory

        found = next((folder for base in cache_candidates() if (folder := usable_directory(base, "cupy"))), None)
        if found is None:
            os.environ["CUPY_CACHE_IN_MEMORY"] = "1"
        os.environ["CUPY_CACHE_DIR"] = str(found or os.sep)  # one that is there: nothing is written to it then
    return importlib.import_module(name)


def probe(
    load_driver: Callable[[str], object] = ctypes.CDLL, import_cupy: Callable[[str], Any] = import_with_cache
) -> Found:
    """Look; nothing that is missing is an error.

    Parameters
    ----------
    load_driver
        Loads a library by name; OSError where there is none. Asked first: CuPy takes a second to import.
    import_cupy
        Imports a module by name.
    """
    try:
        load_driver(DRIVER_LIBRARY)
    except OSError:
        return Found(reason=f"no NVIDIA driver ({DRIVER_LIBRARY} can't be loaded)")
    try:
        cupy = import_cupy("cupy")
        runtime = cupy.cuda.runtime
    except Exception as error:
        # CuPy raises more than ImportError where its libraries do not fit.
        return Found(reason=f"CuPy can't be imported: {first_line(error)}")
    found = Found(cupy=str(cupy.__version__))
    try:
        driver_version, runtime_version = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
        found = Found(version_text(driver_version), version_text(runtime_version), found.cupy)
        if driver_version == 0:
            return because(found, "the NVIDIA driver does not answer")
        # Within a major version of CUDA an older driver runs newer programs.
        if driver_version // 1000 < runtime_version // 1000:
            return because(found, f"the driver is for CUDA {found.driver}, CuPy for {found.runtime}: update the driver")
        count = int(runtime.getDeviceCount())
    except Exception as error:
        if getattr(error, "status", None) == NO_DEVICE:
            return because(found, why_no_card())
        return because(found, f"the NVIDIA driver does not answer: {first_line(error)}")
    if not count:
        return because(found, why_no_card())
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        return because(found, f"NVRTC, which compiles the kernels, can't be loaded: {first_line(error)}")
    cards = tuple(card_of(cupy, index) for index in range(count))
    found = Found(found.driver, found.runtime, found.cupy, cards)
    return because(found, "" if any(not card.reason for card in cards) else "; ".join(card.reason for card in cards))


def because(found: Found, reason: str) -> Found:
    """Return what was found, with a reason."""
    return Found(found.driver, found.runtime, found.cupy, found.cards, reason)


def card_of(cupy: Any, index: int) -> Card:
    """Ask a card for its name and memory; one that fails costs no other."""
    try:
        with cupy.cuda.Device(index):
            free, total = cupy.cuda.runtime.memGetInfo()
            name = cupy.cuda.runtime.getDeviceProperties(index)["name"]
    except Exception as error:
        return Card(index, "", 0, 0, first_line(error))
    return Card(index, name.decode() if isinstance(name, bytes) else str(name), int(free), int(total))


def why_no_card() -> str:
    """Return what leaves no card."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "the driver has no card" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r} leaves no card"


def version_text(number: int) -> str:
    """Return CUDA's version from its number: 13050 is 13.5; empty for 0."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
