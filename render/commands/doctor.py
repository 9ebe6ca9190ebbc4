"""``voxelcast doctor``: what this installation runs on, for people and for bug reports."""

from __future__ import annotations

import contextlib
import json
import platform
from typing import TYPE_CHECKING, Any

import click

from render import __version__
from render.memory import format_bytes

if TYPE_CHECKING:
    from render.backends.base import Renderer
    from render.backends.cuda.probe import Found


@click.command("doctor", help="Say what this installation runs on: CPU, SIMD lanes, kernel cache, codecs, device.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON on stdout.")
def command(as_json: bool) -> None:
    """Print it; whatever is found, the exit status is 0."""
    found = examine()
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines_of(found)))


def examine() -> dict[str, Any]:
    """Return everything that is printed, ready for JSON.

    Tries the SIMD lanes, which compiles a small kernel where none is cached. Nothing in it concerns a patient.
    """
    import llvmlite
    import numba

    from render.backends.cpu.compiling import KERNELS
    from render.backends.cpu.kernel_cache import cache_directory, cpu_name, kept_kernels
    from render.backends.cpu.operations import KERNEL_SET, WIDTH
    from render.backends.cuda.probe import probe
    from render.memory import available_cores

    found = probe()
    directory = cache_directory(WIDTH)
    cores = available_cores()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": {"name": cpu_model() or cpu_name(), "target": cpu_name(), "cores": cores},
        "simd": {
            "kernels": KERNEL_SET.name,
            "lanes": WIDTH,
            "bits": 32 * WIDTH,
            "reason": KERNEL_SET.reason,
            "is_fallback": KERNEL_SET.is_fallback,
        },
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "kernel_cache": {
            "directory": None if directory is None else str(directory),
            "compiled": 0 if directory is None else kept_kernels(directory),
            "kernels": len(KERNELS) + (KERNEL_SET.name == "lanes"),  # the lanes are tried by one of their own
        },
        "codecs": examine_codecs(),
        "cuda": found.as_json(),
        "device": examine_device(found),
    }


def examine_device(found: Found) -> dict[str, Any]:
    """Return what ``--device auto`` uses: tries the card, if there is one, as a server does."""
    from render.backends.choice import choose

    with contextlib.closing(choose("auto", find=lambda: found)) as choice:
        renderer = choice.renderer
        encoder, decoder = examine_card_codecs(renderer)
        return {
            "name": choice.device,
            "description": getattr(renderer, "description", ""),
            "threads": getattr(renderer, "threads", 0),
            "budget_bytes": sum(seat.budget_bytes for seat in choice.seats),
            "reason": choice.reason,
            "encoder": encoder,
            "decoder": decoder,
        }


def examine_card_codecs(renderer: Renderer) -> tuple[str, str]:
    """Return what encodes and what decodes on a renderer's card, or why nothing does; empty on a CPU."""
    from render.dicom.card_codecs import open_decoder
    from render.errors import VoxelcastError

    kind, _, number = renderer.device.partition(":")
    if kind != "cuda":
        return "", ""
    said = []
    for ask in (renderer.try_encoder, lambda: open_decoder(int(number)).name):  # type: ignore[attr-defined]
        try:
            said.append(ask())
        except VoxelcastError as error:
            said.append(f"on the CPU: {error.message}")
    return said[0], said[1]


def lines_of_cuda(cuda: dict[str, Any]) -> str:
    """Return what was found of CUDA, in one line."""
    versions = {"driver for CUDA": cuda["driver"], "CuPy": cuda["cupy"], "built for CUDA": cuda["runtime"]}
    said = [f"{name} {version}" for name, version in versions.items() if version]
    for card in cuda["cards"]:
        free, total = (format_bytes(card[name]) for name in ("free_bytes", "total_bytes"))
        is_there = f"{card['name']}, {free} free of {total}"
        said.append(f"cuda:{card['index']} " + (f"does not answer: {card['failure']}" if card["failure"] else is_there))
    return "; ".join([*said, f"none: {cuda['reason']}"] if cuda["reason"] else said)


def examine_codecs() -> dict[str, Any]:
    """Return the versions of what decodes, and the names of the compressed transfer syntaxes by whether one does."""
    import imagecodecs
    import pydicom
    from pydicom.uid import UID

    from render.dicom.attributes import ENCAPSULATED_SYNTAXES, JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE
    from render.dicom.codecs import decoder_of
    from render.errors import CodecError

    libraries = [name for name in ("JPEG8", "JPEGLS", "JPEG2K") if getattr(imagecodecs, name).available]
    decoded: list[str] = []
    missing: list[str] = []
    for syntax in sorted(ENCAPSULATED_SYNTAXES):
        if syntax in (JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE):
            is_decoded = "JPEG8" in libraries  # pydicom has no decoder to plug it into
        else:
            try:
                is_decoded = bool(decoder_of(syntax).available_plugins)
            except CodecError:
                is_decoded = False
        (decoded if is_decoded else missing).append(UID(syntax).name)
    return {
        "imagecodecs": imagecodecs.__version__,
        "pydicom": pydicom.__version__,
        "libraries": [name.lower() for name in libraries],
        "decoded": decoded,
        "missing": missing,
    }


def cpu_model() -> str:
    """Return the CPU's name as the system tells it; empty where it does not."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as listing:
            names = (line.partition(":")[2].strip() for line in listing if line.startswith("model name"))
            return next(names, "")
    except OSError:
        return platform.processor()


def lines_of(found: dict[str, Any]) -> list[str]:
    """Return the lines for people."""
    cpu, simd, cache, codecs, device = (found[name] for name in ("cpu", "simd", "kernel_cache", "codecs", "device"))
    if simd["kernels"] == "lanes":
        lanes = f"{simd['lanes']} lanes, vectors of {simd['bits']} bits: {simd['reason']}"
    else:
        lanes = f"none, scalar kernels: {simd['reason']}"
    syntaxes = len(codecs["decoded"]), len(codecs["decoded"]) + len(codecs["missing"])
    decoded = f"{syntaxes[0]} of {syntaxes[1]} compressed transfer syntaxes"
    if codecs["missing"]:
        decoded += f", without {', '.join(codecs['missing'])}"
    kept = f"{cache['compiled']} of {cache['kernels']} kernels compiled, in {cache['directory']}"
    rows = {
        "voxelcast": found["version"],
        "python": f"{found['python']} on {found['platform']}",
        "cpu": f"{cpu['name']} (compiled for {cpu['target']})",
        "cores": f"{cpu['cores']} usable",
        "simd": lanes,
        "numba": f"{found['numba']}, llvmlite {found['llvmlite']}",
        "kernel cache": kept if cache["directory"] else "none: no folder to keep kernels in, each start compiles them",
        "codecs": f"imagecodecs {codecs['imagecodecs']} ({', '.join(codecs['libraries'])}), "
        f"pydicom {codecs['pydicom']}: {decoded}",
        "cuda": lines_of_cuda(found["cuda"]),
        "serve uses": f"{device['name']}, {device['threads']} threads: {device['reason']}"
        if device["threads"]
        else f"{device['name']}: {device['reason']}",
    }
    if device["encoder"]:
        rows |= {"encodes by": device["encoder"], "decodes by": device["decoder"]}
    return [f"{name:13} {value}" for name, value in rows.items()]
