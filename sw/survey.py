"""Survey tables that stand in memory: which devices, which domains, under which IDs. Reads only.

Source: VT-d 4.1, 6.2.2.1 (all entries of one domain ID name the same tables), 9.3.
"""
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from hw.spec.codec import decode
from hw.spec.tables import PAGE_BITS, ContextEntry, TranslationType
from sw.contexts import ContextTables
from sw.domain import Domain
from sw.errors import AdoptionRefused, TableMalformed
from sw.memory import PageAllocator
from sw.registers import RegisterFile
from sw.table_format import TableFormat
from sw.tables import SecondStageTable
from sw.transport import Transport

__all__ = ["Survey", "survey"]


@dataclass
class Survey:
    """What was found."""

    contexts: ContextTables
    domains: dict[int, Domain] = field(default_factory=dict)  # by domain ID
    strangers: dict[int, int] = field(default_factory=dict)   # present entries, by source ID, of devices not asked for


async def survey(transport: Transport, allocator: PageAllocator, registers: RegisterFile, root_table: int,
                 wanted: Collection[int] | None) -> Survey:
    """Read what hangs on a root table. Of devices that are not `wanted` (None: all are) only the context entry is read.

    Raises
    ------
    AdoptionRefused
        If two tables stand under one domain ID.
    TableMalformed
        If a table is not one that the unit accepts.
    """
    found = Survey(await ContextTables.load(transport, root_table))
    for source_id, entry in (await found.contexts.entries()).items():
        if not decode(ContextEntry, entry).present:
            continue
        if wanted is not None and source_id not in wanted:
            found.strangers[source_id] = entry
            continue
        fields = decode(ContextEntry, entry)
        _check_entry(found.contexts.entry_hpa(source_id), entry)
        if fields.domain_id not in found.domains:
            table = None
            if fields.translation_type != TranslationType.PASS_THROUGH:
                table_format = TableFormat.of_unit(registers, fields.address_width)
                table = await SecondStageTable.load(transport, allocator, table_format, _top(fields))
            found.domains[fields.domain_id] = Domain(fields.domain_id, table, fields.address_width)
        _require_same_tables(found.domains, source_id, entry)
        found.domains[fields.domain_id].devices.add(source_id)
    for source_id, entry in found.strangers.items():
        _require_same_tables(found.domains, source_id, entry)
    return found


def _top(fields: Any) -> int:
    """HPA of the top table of a decoded context entry; 0 for pass-through, which has none."""
    if fields.translation_type == TranslationType.PASS_THROUGH:
        return 0
    return int(fields.second_stage_pointer << PAGE_BITS)


def _check_entry(hpa: int, entry: int) -> None:
    """What the unit would not accept of a present context entry."""
    fields = decode(ContextEntry, entry)
    if fields["_reserved_11_4"] or fields["_reserved_71"] or fields["_reserved_127_88"]:
        raise TableMalformed(hpa, entry, "reserved bits of a context entry are set")
    if fields.translation_type not in (TranslationType.MULTI_LEVEL, TranslationType.PASS_THROUGH):
        raise TableMalformed(hpa, entry, f"translation type {fields.translation_type} is not supported")


def _require_same_tables(domains: dict[int, Domain], source_id: int, entry: int) -> None:
    """Refuse an entry whose domain ID stands for other tables in another entry."""
    fields = decode(ContextEntry, entry)
    domain = domains.get(fields.domain_id)
    if domain is not None and (_top(fields), fields.address_width) != (domain.top, domain.address_width):
        raise AdoptionRefused(f"{ContextTables.describe(source_id, entry)}: its domain ID stands for other tables too")
