"""What an experiment declares before it begins: which devices visit which pages, under which tags, and what survives.

The judge and the traffic engine are told from here, never by driver code: the kernel under test is given the domain
IDs and offsets that stand here and has no say in what counts as right.
"""
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hw.spec.bench import DataWord, page_signature
from hw.spec.capabilities import straps_from_capabilities
from hw.spec.codec import encode
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, PAGE_BYTES
from sim.model.translations import Interval as JudgedInterval
from sim.model.translations import Translations
from sw.capture import Capture
from sw.intervals import Interval, Permission
from sw.traffic import TrafficPage

__all__ = ["DevicePlan", "DomainPlan", "Experiment", "data_page"]


@dataclass(frozen=True)
class DevicePlan:
    """One device with traffic.

    Parameters
    ----------
    index : int
        Its row in the traffic engine's device table.
    source_id, old_domain_id, new_domain_id : int
        Who it is, under which tag it starts, under which it shall end.
    entry_hpa : int
        Where its context entry stands.
    first_page : int
        Of its slice of the page list.
    pages : tuple of TrafficPage
        What it visits; `new_hpa` differs from `old_hpa` if its pages are to be copied.
    writes : int
        Of 16 DMAs, how many write. None write to pages that are copied while they are in use.
    preserved : bool
        It goes on doing DMA across the handover; the others' drivers have stopped them.
    """

    index: int
    source_id: int
    old_domain_id: int
    new_domain_id: int
    entry_hpa: int
    first_page: int
    pages: tuple[TrafficPage, ...]
    writes: int
    preserved: bool


@dataclass(frozen=True)
class DomainPlan:
    """One domain's tags and what they must say."""

    old_domain_id: int
    new_domain_id: int
    table_pointer: int          # page number of the old top table
    old: Translations
    new: Translations


@dataclass(frozen=True)
class Experiment:
    """A capture turned into an experiment. Make it with `Experiment.of`."""

    capture: Capture
    straps: int
    devices: tuple[DevicePlan, ...]
    domains: tuple[DomainPlan, ...]
    relocate: Mapping[int, int]     # source ID: how far its pages move

    @classmethod
    def of(cls, capture: Capture, *, dropped: Collection[int] = (), relocate: Mapping[int, int] | None = None,
           first_new_domain_id: int = 0x100) -> "Experiment":
        """Every device of the capture that holds live translations, each visiting the pages of those.

        Parameters
        ----------
        dropped : collection of int
            Source IDs that are not preserved.
        relocate : mapping
            By source ID, how far the pages of its domain are moved by the new tables.
        first_new_domain_id : int
            The domains' new tags count from here, in the order of the old ones.

        Raises
        ------
        ValueError
            If a named device holds no live translation.
        """
        relocate = dict(relocate or {})
        visited: dict[int, list[tuple[int, int]]] = {}
        for row in capture.live:
            if not row.in_flight:
                ends = {0, row.page_bytes - PAGE_BYTES}  # of a superpage its first and its last 4 KiB
                visited.setdefault(row.source_id, []).extend((row.iova + end, row.hpa + end) for end in sorted(ends))
        for source_id in {*dropped, *relocate} - visited.keys():
            raise ValueError(f"device {source_id:#06x} holds no live translation in {capture.name}; "
                             f"these do: {', '.join(f'{each:#06x}' for each in sorted(visited))}")
        new_domain_ids = {domain.domain_id: first_new_domain_id + number
                          for number, domain in enumerate(sorted(capture.domains, key=lambda each: each.domain_id))}
        moved = {capture.devices[source_id].domain_id: offset for source_id, offset in relocate.items()}
        devices: list[DevicePlan] = []
        first = 0
        for index, source_id in enumerate(sorted(visited)):
            device = capture.devices[source_id]
            assert device.domain is not None, "a pass-through device holds no translations"
            offset = moved.get(device.domain_id, 0)
            permission = _Permissions(capture.intervals(device.domain))
            pages = tuple(TrafficPage(iova, hpa, hpa + offset, permission.at(iova)) for iova, hpa in visited[source_id])
            devices.append(DevicePlan(
                index=index, source_id=source_id, old_domain_id=device.domain_id,
                new_domain_id=new_domain_ids[device.domain_id], entry_hpa=_entry_hpa(capture, source_id),
                first_page=first, pages=pages, writes=0 if offset else 4, preserved=source_id not in dropped))
            first += len(pages)
        domains = []
        for number, domain in enumerate(capture.domains):
            intervals = capture.intervals(number)
            domains.append(DomainPlan(
                domain.domain_id, new_domain_ids[domain.domain_id], domain.top >> PAGE_BITS,
                _judged(intervals, 0), _judged(intervals, moved.get(domain.domain_id, 0))))
        straps = straps_from_capabilities(capture.cap.value, capture.ecap.value)
        return cls(capture, straps, tuple(devices), tuple(domains), relocate)

    @property
    def preserved(self) -> tuple[DevicePlan, ...]:
        """The devices that go on."""
        return tuple(device for device in self.devices if device.preserved)

    def data_pages(self) -> set[int]:
        """HPA page numbers of every page that a device visits before the handover."""
        return {page.old_hpa >> PAGE_BITS for device in self.devices for page in device.pages}


def data_page(page: int) -> bytes:
    """4 KiB of a data page: in every 16 bytes nobody's stamp, and the signature of this page."""
    word: int = encode(DataWord, stamp=0, signature=page_signature(page))
    return word.to_bytes(16, "little") * (PAGE_BYTES // 16)


class _Permissions:
    """Permission by IOVA."""

    def __init__(self, intervals: list[Interval]) -> None:
        self._intervals = intervals
        self._starts = [interval.iova for interval in intervals]

    def at(self, iova: int) -> Permission:
        interval = self._intervals[bisect_right(self._starts, iova) - 1]
        if not interval.iova <= iova < interval.end:
            raise ValueError(f"the live translation of {iova:#x} is not in the capture's tables")
        return interval.permission


def _judged(intervals: list[Interval], offset: int) -> Translations:
    return Translations(JudgedInterval(each.iova, each.hpa + offset, each.size, bool(each.permission & Permission.READ),
                                       bool(each.permission & Permission.WRITE)) for each in intervals)


def _entry_hpa(capture: Capture, source_id: int) -> int:
    """Where a device's context entry stands: root table, bus, devfn (VT-d 9.1, 9.3)."""
    root_page: bytes = capture.pages[capture.rtaddr["RTA"] << PAGE_BITS]
    start = (source_id >> 8) * ENTRY_BYTES
    root_entry = int.from_bytes(root_page[start:start + ENTRY_BYTES], "little")
    context_table = root_entry & ((1 << 64) - 1) & ~(PAGE_BYTES - 1)
    return context_table + (source_id & 0xFF) * ENTRY_BYTES
