"""Read a capture: tables that a real operating system wrote, and what an independent implementation made of them.

    capture.json       registers, source IDs, domains, per snapshot ("epoch")
    tables.npz         the table pages of epoch 0, and per later epoch what changed
    mappings.csv.gz    the leaves, folded into runs
    live.csv.gz        translations in use at the snapshot
    probes.csv.gz      single requests and their answers

What is missing, cut short or contradicts itself is an error that names the file and the rule.
"""
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from hw.spec.registers import Register, register
from hw.spec.tables import PAGE_BITS
from sw.capture_files import CaptureFiles, rules_of
from sw.errors import CaptureUnsupported
from sw.intervals import Interval, Permission, coalesce
from sw.registers import RegisterValue

__all__ = ["Capture", "CapturedDevice", "CapturedDomain", "LiveTranslation", "Mapping", "PageKind", "Probe"]


class PageKind(IntEnum):
    """What a captured page was."""

    ROOT = 0
    CONTEXT = 1
    PASID_DIRECTORY = 2
    PASID_TABLE = 3
    LEVEL_5 = 4
    LEVEL_4 = 5
    LEVEL_3 = 6
    LEVEL_2 = 7
    LEVEL_1 = 8
    INVALIDATION_QUEUE = 9
    OTHER = 10


_NOT_TABLES = (PageKind.INVALIDATION_QUEUE, PageKind.OTHER)


class CapturedDevice(NamedTuple):
    """One context entry, as the capture's own tools read it."""

    source_id: int
    domain_id: int
    address_width: int
    translation_type: int
    fault_processing_disable: bool
    domain: int | None  # index into `domains`; None: pass-through


class CapturedDomain(NamedTuple):
    """One set of second-stage tables."""

    domain_id: int
    top: int
    levels: int
    leaf_count: int
    source_ids: tuple[int, ...]


class Mapping(NamedTuple):
    """A run of leaves of one domain."""

    domain: int
    interval: Interval
    page_bytes: int


class LiveTranslation(NamedTuple):
    """A translation that the emulated unit held."""

    source_id: int
    iova: int
    hpa: int
    page_bytes: int
    in_flight: bool  # the entry had just been cleared


class Probe(NamedTuple):
    """One request put to the independent implementation, and its answer."""

    source_id: int
    iova: int
    write: bool
    result: str               # ok, pass or fault
    hpa: int | None
    page_bytes: int | None
    fault_reason: int | None  # None with result fault: blocked without a record


@dataclass(frozen=True)
class Capture:
    """One snapshot of a capture. Read it with `Capture.load`."""

    name: str
    epoch: int
    epoch_count: int
    cap: RegisterValue
    ecap: RegisterValue
    rtaddr: RegisterValue
    pages: dict[int, bytes]
    kinds: dict[int, PageKind]
    devices: dict[int, CapturedDevice]
    domains: tuple[CapturedDomain, ...]
    mappings: tuple[Mapping, ...]
    live: tuple[LiveTranslation, ...]
    probes: tuple[Probe, ...]

    @classmethod
    def load(cls, folder: Path, *, epoch: int = 0) -> "Capture":
        """Read one snapshot.

        Raises
        ------
        CaptureMalformed
            If a file is missing, cut short or breaks a rule of the format.
        CaptureUnsupported
            If the machine was in a mode that the unit does not have.
        """
        files = CaptureFiles(folder)
        epochs = files.epochs()
        with rules_of("capture.json"):
            if not 0 <= epoch < len(epochs):
                raise ValueError(f"epoch {epoch} was asked for, there are {len(epochs)}")
            chosen = epochs[epoch]
            cap, ecap, rtaddr = (_register(chosen["regs"], register(name)) for name in ("CAP", "ECAP", "RTADDR"))
            if rtaddr["TTM"]:
                raise CaptureUnsupported(folder.name, f"its machine ran in translation table mode {rtaddr['TTM']} "
                                                      f"(1 is scalable mode); the unit has legacy mode, 0, only")
            devices = {int(key, 16): _device(int(key, 16), row) for key, row in chosen["sids"].items()}
            domains = tuple(_domain(row) for row in chosen["domains"])
        with rules_of("tables.npz"):
            found = files.pages(epoch)
            kinds = {hpa: PageKind(kind) for hpa, (kind, _) in found.items()}
            _check_tables(rtaddr, kinds, domains)

        def mapping(row: dict[str, str]) -> Mapping | None:
            if int(row["epoch"]) != epoch:
                return None
            if not 0 <= int(row["domain"]) < len(domains):
                raise ValueError(f"domain {row['domain']} is not in capture.json")
            return _mapping(row)

        mappings = files.rows("mappings.csv.gz", mapping)
        live = files.rows("live.csv.gz", lambda row: _live(row) if int(row["epoch"]) == epoch else None)
        probes = files.rows("probes.csv.gz", _probe) if epoch == 0 else []
        return cls(folder.name, epoch, len(epochs), cap, ecap, rtaddr, {hpa: page for hpa, (_, page) in found.items()},
                   kinds, devices, domains, tuple(row for row in mappings if row is not None),
                   tuple(row for row in live if row is not None), tuple(probes))

    def table_pages(self) -> dict[int, bytes]:
        """The pages that the unit walks: root, context and second-stage tables."""
        return {hpa: page for hpa, page in self.pages.items() if self.kinds[hpa] not in _NOT_TABLES}

    def intervals(self, domain: int) -> list[Interval]:
        """What one domain's tables say, according to the capture."""
        return coalesce(mapping.interval for mapping in self.mappings if mapping.domain == domain)


def _register(words: dict[str, str], row: Register) -> RegisterValue:
    """A register out of the 32-bit words of the captured window."""
    value = 0
    for byte in range(0, row.width // 8, 4):
        value |= int(words[f"0x{row.offset + byte:03x}"], 16) << (8 * byte)
    return RegisterValue(row, value)


def _device(source_id: int, row: dict[str, Any]) -> CapturedDevice:
    return CapturedDevice(source_id, row["did"], row["aw"], row["tt"], bool(row["fpd"]), row.get("domain"))


def _domain(row: dict[str, Any]) -> CapturedDomain:
    return CapturedDomain(row["did"], int(row["sltptr"], 16), row["levels"], row["leaves"],
                          tuple(int(source_id, 16) for source_id in row["sids"]))


def _mapping(row: dict[str, str]) -> Mapping:
    page_bytes = int(row["bytes"], 16)
    permission = Permission.NONE
    for letter, allowed in (("R", Permission.READ), ("W", Permission.WRITE)):
        if letter in row["perm"]:
            permission |= allowed
    interval = Interval(int(row["iova"], 16), page_bytes * int(row["count"]), int(row["hpa"], 16), permission)
    return Mapping(int(row["domain"]), interval, page_bytes)


def _live(row: dict[str, str]) -> LiveTranslation:
    if row["state"] not in ("ok", "inflight"):
        raise ValueError(f"state must be ok or inflight, not {row['state']!r}")
    return LiveTranslation(int(row["sid"], 16), int(row["iova"], 16), int(row["gpa"], 16), int(row["mask"], 16) + 1,
                           row["state"] == "inflight")


def _probe(row: dict[str, str]) -> Probe:
    if row["result"] not in ("ok", "pass", "fault"):
        raise ValueError(f"result must be ok, pass or fault, not {row['result']!r}")
    if row["result"] == "ok" and not row["hpa"]:
        raise ValueError("a request with result ok must have an hpa")
    return Probe(int(row["sid"], 16), int(row["iova"], 16), row["write"] == "1", row["result"],
                 int(row["hpa"], 16) if row["hpa"] else None, int(row["mask"], 16) + 1 if row["mask"] else None,
                 int(row["fault"]) if row["fault"] else None)


def _check_tables(rtaddr: RegisterValue, kinds: dict[int, PageKind], domains: tuple[CapturedDomain, ...]) -> None:
    """The root table and every domain's top table must be among the pages, and of the right kind."""
    root = rtaddr["RTA"] << PAGE_BITS
    expected = {root: PageKind.ROOT}
    expected |= {domain.top: PageKind(PageKind.LEVEL_1 + 1 - domain.levels) for domain in domains}
    for hpa, kind in expected.items():
        if hpa not in kinds:
            raise ValueError(f"the {kind.name} page at {hpa:#x}, named in capture.json, must be among the pages")
        if kinds[hpa] is not kind:
            raise ValueError(f"the page at {hpa:#x} is of kind {kinds[hpa].name}, by capture.json it is {kind.name}")
