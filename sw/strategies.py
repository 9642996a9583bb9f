"""Ways to replace the domain of a device: each makes a list of steps, printable, and the steps execute themselves.

    AtomicSwap        one 128-bit compare-exchange; invalidate context (old ID), then IOTLB (old ID, drained)
    BreakBeforeMake   clear present; invalidate context and IOTLB (old ID); write the rest; set present

Each announces its phases to a `Ruler`, which also tells the cycle.

Source: VT-d 4.1, 6.5.3.3 and table 25 (what to invalidate, in which order).
"""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hw.spec.bench import Phase
from hw.spec.codec import decode
from hw.spec.memory import QUANTUM_BITS
from hw.spec.tables import ContextEntry
from sw.armed_update import ArmedUpdate, Arming
from sw.entry_update import EntryWrite, Outcome, break_plan, plan
from sw.errors import EntryChanged, NotHitless
from sw.invalidation import Invalidations
from sw.transport import Transport

__all__ = ["AtomicSwap", "BreakBeforeMake", "Ruler", "Run", "Silent", "Step", "Strategy"]


class Ruler(Protocol):
    """Who is told what the driver is about to do, and knows the time."""

    async def set_phase(self, phase: Phase) -> None:
        """The driver enters this phase."""

    async def cycle(self) -> int:
        """Cycles since reset."""


class Silent:
    """A ruler for machines without one."""

    async def set_phase(self, phase: Phase) -> None:
        """Nobody is told."""

    async def cycle(self) -> int:
        """Time does not pass."""
        return 0


@dataclass
class Run:
    """The execution of one plan on one entry."""

    transport: Transport
    invalidation: Invalidations
    update: ArmedUpdate
    ruler: Ruler
    entry_hpa: int
    commit_cycle: int | None = None  # in which memory took the first store
    triggered: bool = False          # an armed store met its moment

    async def committed(self) -> None:
        """Called just after each plain store."""
        if self.commit_cycle is None:
            self.commit_cycle = await self.update.commit_cycle()


class Step(Protocol):
    """One thing to do."""

    async def execute(self, run: Run) -> None:
        """Do it; return when its effect is there."""


@dataclass(frozen=True)
class Announce:
    """Enter a phase."""

    phase: Phase

    def __str__(self) -> str:
        return f"phase {self.phase.name}"

    async def execute(self, run: Run) -> None:
        """Tell the ruler."""
        await run.ruler.set_phase(self.phase)


@dataclass(frozen=True)
class Exchange:
    """Swap the whole entry in one indivisible access, if it still is what the plan was made for."""

    write: EntryWrite
    arming: Arming | None

    def __str__(self) -> str:
        when = "" if self.arming is None else f", armed for device {self.arming.source_id:#06x}"
        return f"compare-exchange of 128 bits: {self.write.before:#034x} -> {self.write.after:#034x}{when}"

    async def execute(self, run: Run) -> None:
        """Raise EntryChanged if memory held something else."""
        if self.arming is None:
            observed = await run.transport.compare_exchange128(run.entry_hpa, self.write.before, self.write.after)
            await run.committed()
            if observed != self.write.before:
                raise EntryChanged(run.entry_hpa, self.write.before, observed)
        else:
            done = await run.update.exchange(run.entry_hpa, expected=self.write.before, desired=self.write.after,
                                             arming=self.arming)
            run.commit_cycle, run.triggered = done


@dataclass(frozen=True)
class Store:
    """One 64-bit store into the entry."""

    write: EntryWrite

    def __str__(self) -> str:
        return f"store of 64 bits: word {self.write.index} := {self.write.after:#018x} ({self.write.why})"

    async def execute(self, run: Run) -> None:
        """Store it."""
        await run.transport.store64(run.entry_hpa + self.write.index * self.write.quantum // 8, self.write.after)
        await run.committed()


@dataclass(frozen=True)
class InvalidateContext:
    """Drop the device's cached context, named by the domain ID under which it was cached."""

    source_id: int
    domain_id: int

    def __str__(self) -> str:
        return f"invalidate the cached context of device {self.source_id:#06x}, domain {self.domain_id}; wait"

    async def execute(self, run: Run) -> None:
        """Return when it has ended."""
        await run.invalidation.context_device(self.source_id, self.domain_id)


@dataclass(frozen=True)
class InvalidateIotlb:
    """Drop a domain's cached translations and drain what used them."""

    domain_id: int

    def __str__(self) -> str:
        return f"invalidate the IOTLB of domain {self.domain_id} and drain; wait"

    async def execute(self, run: Run) -> None:
        """Return when it has ended."""
        await run.invalidation.iotlb_domain(self.domain_id)


@dataclass(frozen=True)
class Pause:
    """Let time pass, as a kernel does that has other work between a store and the invalidation after it."""

    cycles: int

    def __str__(self) -> str:
        return f"pause of {self.cycles} cycles"

    async def execute(self, run: Run) -> None:
        """Return when it is over."""
        await run.transport.pause(self.cycles)


class Strategy(Protocol):
    """A way to replace."""

    @property
    def name(self) -> str:
        """As on the command line and in reports."""

    def steps(self, source_id: int, old: int, new: int) -> Sequence[Step]:
        """What to do to turn the device's present context entry `old` into `new`."""


def _forget(source_id: int, entry: int) -> tuple[Step, ...]:
    """The invalidations after a present context entry was changed: IOTLB after context, both by the old domain ID."""
    domain_id = decode(ContextEntry, entry).domain_id
    return InvalidateContext(source_id, domain_id), InvalidateIotlb(domain_id)


@dataclass(frozen=True)
class AtomicSwap:
    """One 128-bit compare-exchange: new table pointer and new domain ID together.

    Parameters
    ----------
    armed : bool
        The store waits, in hardware, until a walk and a hit of the device are in flight together.
    offset_cycles : int
        And so many cycles more.
    """

    armed: bool = False
    offset_cycles: int = 0
    name: str = "atomic_swap"

    def steps(self, source_id: int, old: int, new: int) -> Sequence[Step]:
        """Raise NotHitless if the entry cannot change in one access."""
        change = plan(old, new, quantum=QUANTUM_BITS)
        if change.outcome is not Outcome.HITLESS:
            raise NotHitless(change.reason)
        arming = Arming(source_id, self.offset_cycles) if self.armed else None
        return (Announce(Phase.SWAP), *(Exchange(write, arming) for write in change.writes),
                Announce(Phase.INVALIDATE), *_forget(source_id, old))


@dataclass(frozen=True)
class BreakBeforeMake:
    """The present bit cleared, the caches invalidated, the rest written, the present bit set: the control experiment.

    Parameters
    ----------
    cold : bool
        The caches are invalidated before the break as well, so that requests meet the missing entry from the store
        on; otherwise a cached context goes on serving until the invalidation after the break.
    pause_cycles : int
        Between the store that breaks the entry and the invalidation after it.
    """

    cold: bool = False
    pause_cycles: int = 0
    name: str = "break_before_make"

    def steps(self, source_id: int, old: int, new: int) -> Sequence[Step]:
        """Three stores and an invalidation between the first two."""
        clear, *rest = break_plan(old, new).writes
        before = _forget(source_id, old) if self.cold else ()
        pause = (Pause(self.pause_cycles),) if self.pause_cycles else ()
        return (*before, Announce(Phase.BREAK), Store(clear), *pause, Announce(Phase.INVALIDATE), *_forget(source_id, old),
                Announce(Phase.MAKE), *(Store(write) for write in rest))
