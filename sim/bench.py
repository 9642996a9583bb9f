"""The simulated machine under a cocotb test: reset, time, memory, registers and events. Python wakes on replies only.

    @cocotb.test()
    async def a_story(dut):
        bench = Bench(dut)
        await bench.reset(straps=STRAPS_DEFAULT)
        bench.memory.write(0x1000, table)
        await bench.access(write=True, wide=True, address=0x20000, value=1)
        await bench.pause(1000)
        for event in bench.events(): ...

Every call ends just after an edge of the clock, so what follows it happens in a known cycle, the same in every run.
"""
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.task import Task
from cocotb.triggers import Timer

from hw.spec.bench import HostReply, HostRequest
from hw.spec.codec import decode, encode
from sim.events import EventRecorder, Events, format_event, no_events
from sim.memory import Memory
from sim.wrapper import CLOCK_PERIOD_STEPS

__all__ = ["Bench", "DeadlinePassed", "give_result", "run_config"]

_RESET_CYCLES = 4
_LAST_EVENTS = 20


class DeadlinePassed(AssertionError):
    """The test took more cycles than it may."""


def run_config() -> Any:
    """What `sim.runner.run` was given as `config`."""
    return json.loads(Path("config.json").read_text())["config"]


def give_result(value: Any, *, name: str = "result") -> None:
    """Hand a value (anything that JSON can hold) to the caller of `sim.runner.run`."""
    Path(f"{name}.value.json").write_text(json.dumps(value))


class Bench:
    """One machine in one simulator process.

    Parameters
    ----------
    dut
        The `sim_top` that cocotb gives to a test.
    deadline_cycles : int
        The test fails when the machine has run that long.
    keep_events : bool
        Keep what was recorded in `log`. Off, only listeners see it: for long runs.

    Members
    -------
    memory
        All of its memory, without time.
    listeners
        Called with each batch of events as it is drained: the judge, first of all.
    log
        Every event since the reset, as far as drained.
    """

    def __init__(self, dut: Any, *, deadline_cycles: int = 1_000_000, keep_events: bool = True) -> None:
        self._dut = dut
        self._deadline_cycles = deadline_cycles
        self._keep_events = keep_events
        self._recorder = EventRecorder()
        self._batches: list[Events] = []
        self._last = no_events()
        self._waiting_for = "nothing"
        self._watchdog: Task[None] | None = None
        self._started = time.monotonic()
        self._memory_ports = json.loads(Path("config.json").read_text())["memory_ports"]
        self.memory = Memory()
        self.listeners: list[Callable[[Events], None]] = []

    async def reset(self, **ports: int) -> None:
        """Reset the machine; memory keeps its contents. Events so far are forgotten, cycles count from 0 again.

        Parameters
        ----------
        ports : int
            Values of the component's own inputs (straps, knobs), set before the reset and held after it.
        """
        self._dut.rst.value = 1
        for name, value in ports.items():
            self.set_port(name, value)
        if self._watchdog is not None:
            self._watchdog.cancel()
        await self.pause(_RESET_CYCLES)
        self._recorder.take()
        self._batches.clear()
        self._last = no_events()
        self._dut.rst.value = 0
        self._started = time.monotonic()
        self._watchdog = cocotb.start_soon(self._watch())

    def set_port(self, name: str, value: int) -> None:
        """Set an input of the component, from the next edge on."""
        getattr(self._dut, name).value = value

    def port(self, name: str) -> int:
        """An output of the component, as it is now."""
        return int(getattr(self._dut, name).value.to_unsigned())

    @property
    def cycle(self) -> int:
        """Cycles since the reset."""
        return self.port("cycle")

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles for a second of wall time, since the reset."""
        return self.cycle / max(time.monotonic() - self._started, 1e-9)

    async def access(self, *, write: bool, wide: bool, address: int, value: int = 0) -> Any:
        """One register access; returns the HostReply. Costs three cycles more than the machine takes to answer."""
        command = encode(HostRequest, write=write, wide=wide, address=address, data=value)
        self._dut.host_command.value = command
        await self._hand_over("host_access_go", f"the reply to a {'write' if write else 'read'} of {address:#x}")
        return decode(HostReply, self.port("host_result"))

    async def pause(self, cycles: int) -> None:
        """Let the machine run for that many cycles, at least one."""
        if not 1 <= cycles < 1 << 32:
            raise ValueError(f"`cycles` must be between 1 and 2**32-1, not {cycles}")
        self._dut.host_pause_cycles.value = cycles
        await self._hand_over("host_pause_go", f"{cycles} cycles to pass")

    def drain(self) -> Events:
        """Take what was recorded since the last drain, and show it to the listeners."""
        events = self._recorder.take()
        if len(events):
            if self._keep_events:
                self._batches.append(events)
            self._last = np.concatenate([self._last, events[-_LAST_EVENTS:]])[-_LAST_EVENTS:]
            for listener in self.listeners:
                listener(events)
        return events

    @property
    def log(self) -> Events:
        """See Members."""
        self.drain()
        if len(self._batches) > 1:
            self._batches = [np.concatenate(self._batches)]
        return self._batches[0] if self._batches else no_events()

    def in_flight(self) -> str:
        """What the machine is busy with, for a person: what was awaited, memory, and the last events."""
        self.drain()
        memory = [f"memory port {name}: {self.memory.in_flight(number)} of {self.memory.accepted(number)} unanswered"
                  for number, name in enumerate(self._memory_ports)]
        return "\n".join([f"cycle {self.cycle}, waiting for {self._waiting_for}", *memory, "last events:",
                          *(_lines(self._last) or ["none"])])

    async def _hand_over(self, signal: str, awaited: str) -> None:
        """Toggle a request of host_port.sv and sleep until it toggles back."""
        self._waiting_for = awaited
        handle = getattr(self._dut, signal)
        handle.value = 1 - int(handle.value)
        await self._dut.host_done.value_change
        self._waiting_for = "nothing"

    async def _watch(self) -> None:
        await Timer(self._deadline_cycles * CLOCK_PERIOD_STEPS, "step")
        raise DeadlinePassed(f"the deadline of {self._deadline_cycles} cycles has passed\n{self.in_flight()}")


def _lines(events: Iterable[Any]) -> list[str]:
    return [format_event(event) for event in events]
