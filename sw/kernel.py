"""The operating-system process that is the kernel: `python -m sw.kernel old ...`, later `python -m sw.kernel new ...`.

Two processes that share nothing but the machine's address and the seal key. Progress goes to standard error, the
report, one JSON object, to standard output. Exit status 1 with one sentence if something is refused.
"""
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from sw.capture import Capture
from sw.errors import DriverError
from sw.new_kernel import ARENA_BASE, ARENA_BYTES, NewKernelPlan, run_new_kernel
from sw.old_kernel import run_old_kernel
from sw.transport import Transport, TransportError
from sw.transport.socket import SocketTransport

__all__ = ["app"]

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True)

TransportOption = Annotated[str, typer.Option(help="Where the machine serves: unix:PATH or tcp:HOST:PORT.")]
KeyHexOption = Annotated[str, typer.Option(help="The seal key in hexadecimal, at least 16 bytes.")]
KeyFileOption = Annotated[Path | None, typer.Option(help="A file with the seal key in hexadecimal.")]


def parse_number(text: str) -> int:
    """A number as in Python: 24, 0x18. Raises typer.BadParameter."""
    try:
        return int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 24 or 0x18") from None


def parse_numbers(text: str) -> list[int]:
    """Numbers separated by commas."""
    return [parse_number(part) for part in text.split(",") if part]


def parse_pairs(text: str) -> dict[int, int]:
    """KEY:VALUE pairs separated by commas."""
    pairs = {}
    for part in text.split(","):
        if part:
            key, colon, value = part.partition(":")
            if not colon:
                raise typer.BadParameter(f"{part!r} is not a pair such as 3:103")
            pairs[parse_number(key)] = parse_number(value)
    return pairs


def read_key(key_hex: str, key_file: Path | None) -> bytes:
    """The seal key, from one of the two. Raises typer.BadParameter."""
    if bool(key_hex) == (key_file is not None):
        raise typer.BadParameter("give the seal key once: --key-hex or --key-file")
    try:
        return bytes.fromhex(key_hex or (key_file.read_text(encoding="ascii").strip() if key_file else ""))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the seal key must be hexadecimal: {error}") from None


@app.command()
def old(transport: TransportOption,
        capture: Annotated[Path, typer.Option(help="Folder of the capture whose tables it runs on.")],
        key_hex: KeyHexOption = "", key_file: KeyFileOption = None,
        preserve: Annotated[str, typer.Option(help="Source IDs that survive: 0x18,0x20 or all.")] = "all",
        cycles: Annotated[int, typer.Option(min=0, help="How long to run before the end.")] = 1000,
        epoch: Annotated[int, typer.Option(min=0, help="Snapshot of the capture.")] = 0) -> None:
    """Run on captured tables, persist, end."""
    key = read_key(key_hex, key_file)
    preserved = None if preserve == "all" else parse_numbers(preserve)
    _run(transport, lambda machine: run_old_kernel(machine, Capture.load(capture, epoch=epoch), key=key, cycles=cycles,
                                                   preserved=preserved, say=_say))


@app.command()
def new(transport: TransportOption, key_hex: KeyHexOption = "", key_file: KeyFileOption = None,
        strategy: Annotated[str, typer.Option(help="atomic_swap or break_before_make.")] = "atomic_swap",
        cold: Annotated[bool, typer.Option("--cold/--warm", help="break_before_make: invalidate before the break too.")]
        = False,
        armed: Annotated[str, typer.Option(help="atomic_swap: source IDs whose store waits for its moment.")] = "",
        assign: Annotated[str, typer.Option(help="OLD:NEW domain IDs, e.g. 3:103,4:104.")] = "",
        relocate: Annotated[str, typer.Option(help="SID:OFFSET, e.g. 0x18:0x1000000000.")] = "",
        pages_copied: Annotated[bool, typer.Option(help="The relocated pages have been copied already.")] = False,
        pause_cycles: Annotated[int, typer.Option(min=0, help="break_before_make: from the break to its invalidation.")]
        = 0,
        arena_base: Annotated[str, typer.Option(help="Physical address of this kernel's memory.")] = hex(ARENA_BASE),
        arena_bytes: Annotated[str, typer.Option(help="And its size.")] = hex(ARENA_BYTES)) -> None:
    """Verify, adopt, build, replace, free."""
    key = read_key(key_hex, key_file)
    try:
        plan = NewKernelPlan(key, strategy, cold, frozenset(parse_numbers(armed)), parse_pairs(assign),
                             parse_pairs(relocate), pages_copied, pause_cycles, parse_number(arena_base),
                             parse_number(arena_bytes))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _run(transport, lambda machine: run_new_kernel(machine, plan, say=_say))


def _run(address: str, life: Callable[[Transport], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    """Connect, live, report."""
    try:
        with SocketTransport(address) as machine:
            report = asyncio.run(life(machine))
    except (DriverError, TransportError, ValueError) as error:
        _say(f"{type(error).__name__}: {error}")
        raise typer.Exit(1) from None
    sys.stdout.write(json.dumps(report) + "\n")


def _say(line: str) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    app()
