"""Laws that are seen on the DMA: L1 no fault, L2 old or new, L6 one answer, L9 handover. Ours."""
from collections.abc import Iterable

from hw.spec.dma import Status
from hw.spec.events import Verdict
from hw.spec.faults import FaultReason
from hw.spec.tables import PAGE_BITS, PAGE_BYTES, PageSize
from sim.model.world import Dma, World

__all__ = ["Answers", "Handover", "Place"]

_LANDED = (Verdict.OLD, Verdict.NEW, Verdict.AFTER_FREE)


class Place:
    """L1: no DMA of a device declared live is blocked or faults. L2: each lands where a declared table says.

    L2 takes the engine's verdict (WRONG and ERROR break it; BLOCKED is L1's, AFTER_FREE L4's), and looks for itself:
    the address done must be the one replied, and one that a declaration of that tag gives which stood while the DMA was
    under way. A declaration by table alone leaves the address to L5 and L7. After `only_new`, a DMA accepted later must
    have the new tag and the address of its newest declaration.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._live: dict[int, int] = {}               # source ID: since
        self._only_new: dict[int, tuple[int, int]] = {}  # source ID: since, domain ID

    def live(self, cycle: int, source_ids: Iterable[int]) -> None:
        """From now on no DMA of these devices may be blocked."""
        self._live |= dict.fromkeys(source_ids, cycle)

    def only_new(self, cycle: int, source_ids: Iterable[int], domain_id: int) -> None:
        """The last invalidation has completed: only the new tag, and its newest table, from now on."""
        self._only_new |= dict.fromkeys(source_ids, (cycle, domain_id))

    def fault(self, cycle: int, source_id: int, iova: int, reason: int) -> None:
        """A fault was raised, recorded or not."""
        if source_id in self._live:
            self._world.ledger.checks["L1"] += 1
            name = FaultReason(reason).name
            self._world.ledger.violate(cycle, "L1", f"fault {name} of live device {source_id:#06x} at {iova:#x}")

    def done(self, cycle: int, dma: Dma, verdict: Verdict, domain_id: int, hpa: int) -> None:
        """The engine judged a DMA."""
        ledger = self._world.ledger
        if dma.accepted >= self._live.get(dma.source_id, cycle + 1):
            ledger.checks["L1"] += 1
            if verdict is Verdict.BLOCKED:
                ledger.violate(cycle, "L1", f"{dma} was blocked, and its device is live")
        if verdict is Verdict.BLOCKED:
            return
        ledger.checks["L2"] += 1
        problem = f"the engine found {verdict.name}" if verdict not in _LANDED else self._misplaced(
            cycle, dma, verdict, domain_id, hpa)
        if problem is not None:
            ledger.violate(cycle, "L2", f"{dma} went to {hpa:#x} under domain {domain_id:#x}: {problem}")

    def _misplaced(self, cycle: int, dma: Dma, verdict: Verdict, domain_id: int, hpa: int) -> str | None:
        if (hpa >> PAGE_BITS, domain_id) != (dma.hpa >> PAGE_BITS, dma.domain_id):
            return f"the reply said {dma.hpa:#x} under domain {dma.domain_id:#x}"
        if (hpa ^ dma.iova) % PAGE_BYTES:
            return "another place in the page"
        since, new_domain_id = self._only_new.get(dma.source_id, (cycle, domain_id))
        late = dma.accepted > since
        if late and verdict is Verdict.OLD:
            return f"by old tables, which were gone since cycle {since}"
        if late and domain_id != new_domain_id:
            return f"since cycle {since} only domain {new_domain_id:#x} is right"
        if dma.page_size is PageSize.UNTRANSLATED:
            return None if hpa == dma.iova else "not translated, yet changed"
        standing = self._world.associations.standing(domain_id, dma.accepted, cycle)
        if not standing:
            return "nobody declared that domain"
        permitted = set()
        for each in standing[-1:] if late else standing:
            if each.translations is None:
                return None
            found = each.translations.lookup(dma.iova)
            permitted.add(found and found[0])
        places = ", ".join("nowhere" if place is None else f"{place:#x}" for place in permitted)
        return None if hpa in permitted else f"declared is {places}"


class Answers:
    """L6: every request gets exactly one reply and is done exactly once, and what is blocked has a reason.

    A tag that is done may be given to another request in the same cycle, whichever of the two events comes first.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.outstanding: dict[int, Dma] = {}
        self._early: dict[int, Dma] = {}   # requests whose tag is still taken, in this cycle

    def request(self, dma: Dma) -> None:
        """A request was accepted."""
        self._world.ledger.checks["L6"] += 1
        (self._early if dma.tag in self.outstanding else self.outstanding)[dma.tag] = dma

    def reply(self, cycle: int, tag: int, source_id: int, iova: int, status: Status, reason: int) -> Dma | None:
        """A reply was given; the DMA that it answers, if it is one that waits."""
        self._world.ledger.checks["L6"] += 1
        dma = self.outstanding.get(tag)
        if dma is None or dma.replied is not None or (dma.source_id, dma.iova) != (source_id, iova):
            why = "nothing waits for it" if dma is None else f"with that tag {dma} is under way"
            if dma is not None and dma.replied is not None:
                why += f", answered in cycle {dma.replied}"
            self._violate(cycle, f"reply with tag {tag} to {source_id:#06x} for {iova:#x}: {why}")
            return None
        if (status is Status.BLOCKED) != bool(reason):
            self._violate(cycle, f"{dma} was answered {status.name} with reason {reason:#x}")
        return dma

    def done(self, cycle: int, tag: int, source_id: int) -> Dma | None:
        """A DMA is over; the DMA, if it is one that was answered."""
        dma = self.outstanding.get(tag)
        if dma is None or dma.source_id != source_id:
            self._violate(cycle, f"DMA with tag {tag} of {source_id:#06x} done, but not under way")
            return None
        del self.outstanding[tag]
        if tag in self._early:
            self.outstanding[tag] = self._early.pop(tag)
        if dma.replied is None:
            self._violate(cycle, f"{dma} done without a reply")
            return None
        return dma

    def end_of_cycle(self, cycle: int) -> None:
        """No event of this cycle is left."""
        for tag, dma in self._early.items():
            self._violate(cycle, f"{dma} took the tag of {self.outstanding[tag]}")
            self.outstanding[tag] = dma
        self._early.clear()

    def finish(self) -> None:
        """Nothing will happen any more."""
        for dma in self.outstanding.values():
            self._violate(self._world.now, f"{dma} was never {'done' if dma.replied is not None else 'answered'}")
        self.outstanding.clear()

    def _violate(self, cycle: int, sentence: str) -> None:
        self._world.ledger.violate(cycle, "L6", sentence)


class Handover:
    """L9: between `begins` and `ends` translation stays on, the root table stays, and preserved devices keep working.

    Devices that are not preserved must be shut out by `ends`: no request accepted later may be let through. Whether
    they are shut out as soon as their invalidation completes is L5's and L7's.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._preserved: set[int] = set()
        self._begin: int | None = None
        self._end: int | None = None
        self._root: int | None = None

    def preserve(self, source_ids: Iterable[int]) -> None:
        """These devices must notice nothing."""
        self._preserved |= set(source_ids)

    def begins(self, cycle: int, root_table: int | None) -> None:
        """The old kernel stops; `root_table` is in force."""
        self._begin, self._end, self._root = cycle, None, root_table

    def ends(self, cycle: int) -> None:
        """The new kernel has adopted what was preserved and cleared the rest."""
        self._end = cycle

    @property
    def _under_way(self) -> bool:
        return self._begin is not None and self._end is None

    def control(self, cycle: int, enabled: bool, root_table: int, *, admits: bool) -> None:
        """Translation enable, and the root table in force; whether its mode and address let any DMA through."""
        if self._under_way:
            self._check(cycle, admits, "a table mode or a root table was latched that blocks every DMA")
            self._check(cycle, enabled, "translation was turned off")
            self._check(cycle, self._root in {None, root_table}, f"the root table changed to {root_table:#x}")

    def bus_mastering(self, cycle: int, source_id: int, enabled: bool) -> None:
        """A device's bus-master enable was written."""
        if self._under_way and source_id in self._preserved:
            self._check(cycle, enabled, f"preserved device {source_id:#06x} lost bus mastering")

    def done(self, cycle: int, dma: Dma, verdict: Verdict) -> None:
        """The engine judged a DMA."""
        if self._begin is None:
            return
        if dma.source_id in self._preserved:
            if self._end is None or (dma.replied or 0) <= self._end:  # what is refused later was refused by what came later
                self._check(cycle, verdict is not Verdict.BLOCKED, f"{dma} was blocked, and its device is preserved")
        elif self._end is not None and dma.accepted > self._end:
            self._check(cycle, verdict is Verdict.BLOCKED, f"{dma} was let through, and its device is not preserved")

    def _check(self, cycle: int, holds: bool, sentence: str) -> None:
        self._world.ledger.checks["L9"] += 1
        if not holds:
            self._world.ledger.violate(cycle, "L9", sentence)
