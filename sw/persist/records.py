"""What the records hold: one type per thing that outlives a kernel, each with type, version and length in front.

    unit          root table, CAP, ECAP     pages: root and context tables
    domain/<id>   tables of one domain      pages: its second-stage tables
    device/<sid>  which domain it is in, and whether it goes on doing DMA

`Handover` is all of them together.
"""
import struct
from dataclasses import astuple, dataclass
from typing import ClassVar

from sw.errors import StoreRefused
from sw.persist.store import Store

__all__ = ["DeviceRecord", "DomainRecord", "Handover", "Record", "UnitRecord", "pack", "unpack"]

_PREFIX = struct.Struct("<BBH")  # type, version, length of what follows


@dataclass(frozen=True)
class UnitRecord:
    """One translation unit."""

    root_table: int
    cap: int
    ecap: int

    TYPE: ClassVar[int] = 1
    VERSION: ClassVar[int] = 1
    FORMAT: ClassVar[struct.Struct] = struct.Struct("<QQQ")

    @property
    def name(self) -> str:
        """As in the store."""
        return "unit"


@dataclass(frozen=True)
class DomainRecord:
    """One domain that preserved devices use."""

    domain_id: int
    top_table: int     # HPA; 0 if pass-through
    levels: int
    address_width: int
    pass_through: bool

    TYPE: ClassVar[int] = 2
    VERSION: ClassVar[int] = 1
    FORMAT: ClassVar[struct.Struct] = struct.Struct("<HQBB?")

    @property
    def name(self) -> str:
        """As in the store."""
        return f"domain/{self.domain_id}"


@dataclass(frozen=True)
class DeviceRecord:
    """One device."""

    source_id: int
    domain_id: int
    preserved: bool

    TYPE: ClassVar[int] = 3
    VERSION: ClassVar[int] = 1
    FORMAT: ClassVar[struct.Struct] = struct.Struct("<HH?")

    @property
    def name(self) -> str:
        """As in the store."""
        return f"device/{self.source_id:04x}"


Record = UnitRecord | DomainRecord | DeviceRecord
_TYPES: dict[int, type[Record]] = {record.TYPE: record for record in (UnitRecord, DomainRecord, DeviceRecord)}


def pack(record: Record) -> bytes:
    """A record as bytes."""
    return _PREFIX.pack(record.TYPE, record.VERSION, record.FORMAT.size) + record.FORMAT.pack(*astuple(record))


def unpack(name: str, raw: bytes) -> Record:
    """A record from bytes. Raises StoreRefused if it is not one that this kernel reads."""
    if len(raw) < _PREFIX.size:
        raise StoreRefused(name, f"has {len(raw)} bytes, less than the {_PREFIX.size} of a record's prefix")
    kind, version, length = _PREFIX.unpack_from(raw)
    if kind not in _TYPES:
        raise StoreRefused(name, f"is of type {kind}; there are {sorted(_TYPES)}")
    record_type = _TYPES[kind]
    if version != record_type.VERSION:
        raise StoreRefused(name, f"is of version {version}; this kernel reads version {record_type.VERSION}")
    if length != record_type.FORMAT.size or len(raw) != _PREFIX.size + length:
        raise StoreRefused(name, f"must have {_PREFIX.size + record_type.FORMAT.size} bytes, says {length} and "
                                 f"has {len(raw)}")
    record = record_type(*record_type.FORMAT.unpack_from(raw, _PREFIX.size))
    if record.name != name:
        raise StoreRefused(name, f"holds {record.name}")
    return record


@dataclass(frozen=True)
class Handover:
    """Everything that one kernel leaves to the next, checked against itself."""

    unit: UnitRecord
    unit_pages: tuple[int, ...]
    domains: dict[int, DomainRecord]
    domain_pages: dict[int, tuple[int, ...]]
    devices: dict[int, DeviceRecord]

    @property
    def preserved(self) -> frozenset[int]:
        """Source IDs of the devices that go on doing DMA."""
        return frozenset(source_id for source_id, device in self.devices.items() if device.preserved)

    async def save(self, store: Store) -> None:
        """Put it in a store and seal that."""
        await store.save(self.unit.name, pack(self.unit), pages=self.unit_pages)
        for domain_id, domain in self.domains.items():
            await store.save(domain.name, pack(domain), pages=self.domain_pages[domain_id])
        for device in self.devices.values():
            await store.save(device.name, pack(device))
        await store.seal()

    @classmethod
    async def load(cls, store: Store) -> "Handover":
        """Verify a store and read it. Raises StoreRefused, naming the record, before anything is touched."""
        await store.verify()
        unit: UnitRecord | None = None
        domains: dict[int, DomainRecord] = {}
        devices: dict[int, DeviceRecord] = {}
        pages: dict[str, tuple[int, ...]] = {}
        for name in await store.names():
            record = unpack(name, await store.load(name))
            pages[name] = tuple(await store.pages(name))
            match record:
                case UnitRecord():
                    unit = record
                case DomainRecord():
                    domains[record.domain_id] = record
                case DeviceRecord():
                    devices[record.source_id] = record
        if unit is None:
            raise StoreRefused("unit", "is not there")
        if unit.root_table not in pages[unit.name]:
            raise StoreRefused(unit.name, f"its root table {unit.root_table:#x} is not among its preserved pages")
        for domain in domains.values():
            if not domain.pass_through and domain.top_table not in pages[domain.name]:
                raise StoreRefused(domain.name, f"its top table {domain.top_table:#x} is not among its preserved pages")
            if not any(device.preserved and device.domain_id == domain.domain_id for device in devices.values()):
                raise StoreRefused(domain.name, "no preserved device uses it")
        for device in devices.values():
            if device.preserved and device.domain_id not in domains:
                raise StoreRefused(device.name, f"is preserved, but its domain {device.domain_id} is not")
        return cls(unit, pages[unit.name], domains, {domain_id: pages[domain.name]
                                                     for domain_id, domain in domains.items()}, devices)
