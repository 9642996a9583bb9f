"""The root and context tables of a unit, as they stand in memory: where each device's entry is, and what it says.

Source: VT-d 4.1, 9.1 and 9.3.
"""
from hw.spec.codec import decode, encode
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, PAGE_BYTES, ContextEntry, RootEntry
from sw.errors import NotAttached, TableMalformed
from sw.memory import PageAllocator
from sw.transport import Transport

__all__ = ["ContextTables"]

_FUNCTIONS = PAGE_BYTES // ENTRY_BYTES  # entries of a context table


class ContextTables:
    """Root table and context tables.

    Parameters
    ----------
    transport : Transport
        The way to memory.
    root_table : int
        HPA of the root table.
    """

    def __init__(self, transport: Transport, root_table: int) -> None:
        self._transport = transport
        self.root_table = root_table
        self._context_table: dict[int, int] = {}  # by bus

    @classmethod
    async def create(cls, transport: Transport, allocator: PageAllocator) -> "ContextTables":
        """An empty root table."""
        return cls(transport, await allocator.allocate())

    @classmethod
    async def load(cls, transport: Transport, root_table: int) -> "ContextTables":
        """The tables that hang on `root_table`. Raises TableMalformed if a root entry has reserved bits set."""
        tables = cls(transport, root_table)
        raw = await transport.read_memory(root_table, PAGE_BYTES)
        for bus, value in enumerate(_entries(raw)):
            entry = decode(RootEntry, value)
            if entry.present:
                if entry["_reserved_11_1"] or entry["_reserved_127_64"]:
                    raise TableMalformed(root_table + ENTRY_BYTES * bus, value, "reserved bits of a root entry are set")
                tables._context_table[bus] = entry.context_table_pointer << PAGE_BITS
        return tables

    @property
    def pages(self) -> list[int]:
        """HPA of the root table and of every context table, sorted."""
        return sorted({self.root_table, *self._context_table.values()})

    async def entries(self) -> dict[int, int]:
        """Every context entry that is not all zeroes, by source ID."""
        found = {}
        for bus, table in sorted(self._context_table.items()):
            raw = await self._transport.read_memory(table, PAGE_BYTES)
            found.update({bus * _FUNCTIONS + function: value
                          for function, value in enumerate(_entries(raw)) if value})
        return found

    def entry_hpa(self, source_id: int) -> int:
        """Where a device's entry is. Raises NotAttached if its bus has no context table."""
        bus, function = divmod(source_id, _FUNCTIONS)
        if bus not in self._context_table:
            raise NotAttached(source_id)
        return int(self._context_table[bus] + ENTRY_BYTES * function)

    async def read(self, source_id: int) -> int:
        """A device's entry as it stands in memory."""
        raw = await self._transport.read_memory(self.entry_hpa(source_id), ENTRY_BYTES)
        return int.from_bytes(raw, "little")

    async def ensure_bus(self, source_id: int, allocator: PageAllocator) -> None:
        """Give the device's bus a context table if it has none; one 64-bit store links it."""
        bus = source_id // _FUNCTIONS
        if bus in self._context_table:
            return
        table = await allocator.allocate()
        # The high half of a root entry is reserved, and zero since the root table was made.
        entry = encode(RootEntry, present=1, context_table_pointer=table >> PAGE_BITS)
        await self._transport.store64(self.root_table + ENTRY_BYTES * bus, entry)
        self._context_table[bus] = table

    @staticmethod
    def describe(source_id: int, entry: int) -> str:
        """A context entry in words."""
        fields = decode(ContextEntry, entry)
        return (f"device {source_id:#06x}: present={fields.present} {fields.translation_type} "
                f"domain_id={fields.domain_id} address_width={fields.address_width} "
                f"tables at {fields.second_stage_pointer << PAGE_BITS:#x}")


def _entries(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[at:at + ENTRY_BYTES], "little") for at in range(0, len(raw), ENTRY_BYTES)]
