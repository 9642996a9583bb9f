"""A case played on the gateware, and what the golden model says to its event log. Ours.

::

    Case --> Simulation (a process with the simulator) --> Played --> check --> findings, coverage
"""
import tempfile
import threading
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from hw.spec.events import EventKind, PrefetchCause
from hw.spec.monitor import MonitorRegister
from sim.events import Events, detail_column, of_kind
from sim.model.follower import Follower
from sim.model.logged_event import LoggedEvent, from_rows
from sim.model.quanta import Quanta
from sim.runner import BuildResult, SimulationFailed, run
from sim.stories.fuzz_case import Case
from sim.stories.fuzz_worker import Played

__all__ = ["Coverage", "Simulation", "check", "follow"]

_KINDS = frozenset(EventKind) - {EventKind.CONTEXT_FETCH, EventKind.CONTEXT_RESULT, EventKind.CONTEXT_FILL, EventKind.WALK,
                                 EventKind.WALK_RESULT, EventKind.IOTLB_FILL, EventKind.STRUCTURE_FILL,
                                 EventKind.PREFETCH}
_START_SECONDS = 120.0    # until a simulator has called
_PLAY_SECONDS = 600.0     # that it may take for a case
_STOP_SECONDS = 60.0      # to end


@dataclass
class Coverage:
    """What was seen, by name."""

    fault_reasons: Counter[str] = field(default_factory=Counter)
    page_sizes: Counter[str] = field(default_factory=Counter)
    top_levels: Counter[str] = field(default_factory=Counter)
    descriptors: Counter[str] = field(default_factory=Counter)
    queue_errors: Counter[str] = field(default_factory=Counter)
    granularities: Counter[str] = field(default_factory=Counter)
    walks: Counter[str] = field(default_factory=Counter)     # that were joined; what they left in caches of upper levels

    def add(self, other: "Coverage") -> None:
        """What the other has seen was seen."""
        for name, counter in vars(self).items():
            counter.update(getattr(other, name))


class Simulation:
    """A simulator process that plays cases; a new one takes the place of one that has died.

    Parameters
    ----------
    built : BuildResult
        Of a PlayerTop.
    """

    def __init__(self, built: BuildResult) -> None:
        self._built = built
        self._connection: Connection[str | None, Played] | None = None
        self._thread: threading.Thread | None = None
        self._failure = ""

    def play(self, case: Case) -> Played:
        """What becomes of the case; `hang` tells of a machine that stopped, or a simulator that did."""
        if self._connection is None:
            self._start()
        assert self._connection is not None
        try:
            self._connection.send(case.to_json())
            if not self._connection.poll(_PLAY_SECONDS):
                self.stop()
                return Played(hang=f"the simulator has said nothing for {_PLAY_SECONDS:.0f} s")
            played = self._connection.recv()
        except (EOFError, OSError):
            self.stop()
            return Played(hang=f"the simulator has ended\n{self._failure}")
        if played.hang:
            self.stop()
        return played

    def _start(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            address = str(Path(folder) / "cases")
            with Listener(address) as listener:
                self._failure = ""
                self._thread = threading.Thread(target=self._run, args=(address,), daemon=True)
                self._thread.start()
                late = threading.Timer(_START_SECONDS, _knock, [address])
                late.start()
                self._connection = listener.accept()
                late.cancel()

    def _run(self, address: str) -> None:
        try:
            run(self._built, "sim.stories.fuzz_worker", config={"address": address}, seconds=36_000)
        except (SimulationFailed, OSError) as error:
            self._failure = str(error)
        finally:
            _knock(address)     # it may have ended before it called

    def stop(self) -> None:
        """End the process."""
        if self._connection is not None:
            try:
                self._connection.send(None)
            except OSError:
                pass   # it has ended by itself
            self._connection.close()
            self._connection = None
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
            self._thread = None

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _knock(address: str) -> None:
    """Call in the place of a simulator that has not, and hang up: whoever waits for the call learns that none will come."""
    try:
        Client(address).close()
    except OSError:
        pass   # nobody waits


def follow(case: Case, played: Played) -> Follower:
    """The follower of the case, at the end of its log."""
    memory = Quanta(limit=case.memory_limit, errors=frozenset(case.unreadable))
    for hpa, word in case.image:
        memory.preset(hpa, word.to_bytes(8, "little"))
    follower = Follower(case.encoded_straps, memory,
                        requests=[case.request(number) for number in range(len(case.requests))])
    follower.follow(_events(played.events), played.notes)
    return follower


def _events(events: Events | None) -> list[LoggedEvent]:
    return [] if events is None else list(from_rows(events, _KINDS))


def check(case: Case, played: Played) -> tuple[list[str], Coverage]:
    """What may not be, a line each, and what was seen."""
    if played.hang:
        return [f"the machine hangs: {played.hang}"], Coverage()
    try:
        follower = follow(case, played)
    except Exception as error:   # an event of a kind, with a value or in an order that the model has no words for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return [f"the log cannot be followed: {type(error).__name__} in {place.name}: {error}"], Coverage()
    findings = [f"cycle {trouble.cycle}: {trouble.sentence}" for trouble in follower.troubles]
    findings += _read_findings(played) + _monitor_findings(follower, played)
    queue = follower.queue
    return findings, Coverage(
        fault_reasons=Counter({reason.name: count for reason, count in follower.dma.reasons.items()}),
        page_sizes=Counter({size.name: count for size, count in follower.dma.sizes.items()}),
        top_levels=Counter({str(level): 1 for level in follower.permitted.depths}),
        descriptors=Counter({kind.name: count for kind, count in queue.executed.items()}),
        queue_errors=Counter({cause.name: 1 for cause in queue.causes}),
        granularities=Counter({f"{('CONTEXT_CACHE', 'IOTLB')[kind]} {granularity}": count
                               for (kind, granularity), count in follower.granularities.items()}),
        walks=_walks(played))


def _walks(played: Played) -> Counter[str]:
    assert played.events is not None
    seen = Counter({"JOINED": int(detail_column(of_kind(played.events, EventKind.WALK), "joined").sum())})
    fills = detail_column(of_kind(played.events, EventKind.STRUCTURE_FILL), "level")
    seen.update(f"LEVEL_{level}" for level in fills.tolist())
    seen.update(PrefetchCause(int(tag) & 1).name for tag in of_kind(played.events, EventKind.PREFETCH)["tag"])
    return +seen


def _read_findings(played: Played) -> list[str]:
    """The host must have been answered what the log says that was read."""
    assert played.events is not None
    accesses = of_kind(played.events, EventKind.REGISTER)
    said = [int(row["detail_lo"]) for row in accesses if not int(row["tag"]) & 1]
    if said == played.reads:
        return []
    return [f"the host was answered otherwise than the log says: {len(played.reads)} reads, {len(said)} in the log"]


def _monitor_findings(follower: Follower, played: Played) -> list[str]:
    expected = {MonitorRegister.PROTOCOL_ERRORS.name: follower.protocol_errors}
    expected |= {kind.name: count for kind, count in follower.queue.executed.items()}
    return [f"the monitor has counted {played.monitor.get(name, 0)} of {name}, there were {count}"
            for name, count in expected.items() if played.monitor.get(name, 0) != count]
