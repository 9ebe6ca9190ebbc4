"""What there is for this process, memory and cores, and the words in which a budget is given."""

from __future__ import annotations

import os
import re
from pathlib import Path

from render.errors import StartupError

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_UNITS = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_budget_bytes() -> int:
    """Return half of the memory that this process may have: the machine's, or its cgroup's limit where lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = cgroup_limit_bytes()
    return (total if limit is None else min(total, limit)) // 2


def cgroup_limit_bytes(
    membership: Path = Path("/proc/self/cgroup"), hierarchy: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the lowest memory limit of this process's control groups and their ancestors.

    Parameters
    ----------
    membership
        Lines ``number:controllers:path``, as cgroups(7) has it.
    hierarchy
        Where the groups are mounted: version 2 at its top (or under ``unified``), version 1 under ``memory``.

    Returns
    -------
    int or None
        None where there is no limit, or no control group. Version 1 writes "no limit" as a number near 2**63, which
        is returned as it is: it is beyond any machine's memory.
    """
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for top in (hierarchy, hierarchy / "unified"):
                limits += _limits(top, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(hierarchy / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(top: Path, path: str, name: str) -> list[int]:
    # A limit binds everything below it. Within a container the path may be the host's, which is not there: then the
    # container's own group is mounted at the top.
    relative = Path(path.lstrip("/"))
    limits = []
    for folder in (top / relative, *(top / parent for parent in relative.parents)):
        try:
            text = (folder / name).read_text("utf-8").strip()
        except OSError:
            continue
        if text.isdigit():  # else "max"
            limits.append(int(text))
    return limits


def parse_bytes(text: str, flag: str) -> int:
    """Return the number of bytes that `text` says: ``8GiB``, ``500MB``, ``1.5g``, ``1073741824``.

    Raises
    ------
    StartupError
        If it says none; the message names `flag`, whose value this is.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = match[2].lower() if match else "i"
    factor = _UNITS.get(unit) or _BINARY_UNITS.get(unit)
    if match is None or factor is None or (number := int(float(match[1]) * factor)) < 1:
        raise StartupError(f"{flag} {text!r}: a size such as 8GiB or 500MB needed")
    return number


def format_bytes(count: int) -> str:
    """Return `count` as people read it, binary units: ``1.50 GiB``."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(count) >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count} bytes"
