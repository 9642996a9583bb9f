"""Where leaves of tables in memory stand. By hw.spec alone."""
from hw.spec.codec import decode
from hw.spec.tables import ENTRY_BYTES, PAGE_BYTES, ContextEntry, SecondStageEntry, table_index, top_level

__all__ = ["leaf_place"]


def leaf_place(lab, iova):
    """Where the leaf of a lab's first device for `iova` stands, by the tables as they are in memory."""
    read = lab.bench.memory.read
    context = decode(ContextEntry, int.from_bytes(read(lab.experiment.devices[0].entry_hpa, ENTRY_BYTES), "little"))
    table, level = context.second_stage_pointer, top_level(context.address_width)
    while True:
        place = table * PAGE_BYTES + 8 * table_index(iova, level)
        entry = decode(SecondStageEntry, int.from_bytes(read(place, 8), "little"))
        if level == 1 or entry.page_size:
            return place
        table, level = entry.address, level - 1
