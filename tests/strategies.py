"""Hypothesis strategies for what tables hold: entries, good and bad, and whole mappings."""
from hypothesis import strategies as st

from hw.spec.codec import encode
from hw.spec.tables import ContextEntry, RootEntry, SecondStageEntry, TranslationType

__all__ = ["context_entries", "iovas", "mappings", "root_entries", "second_stage_entries", "word"]

word = st.integers(0, (1 << 64) - 1)
quantum = st.integers(0, (1 << 128) - 1)
bit = st.integers(0, 1)
page = st.integers(0, (1 << 40) - 1)


def _entries(layout, **fields):
    """Entries of a layout whose named fields follow strategies; the others are zero."""
    return st.fixed_dictionaries(fields).map(lambda values: encode(layout, **values))


def root_entries():
    """Root entries: mostly legal, sometimes any 128 bits."""
    return st.one_of(_entries(RootEntry, present=bit, context_table_pointer=page), quantum)


def context_entries():
    """Context entries: mostly legal, sometimes any 128 bits."""
    legal = _entries(ContextEntry, present=bit, fault_processing_disable=bit,
                     translation_type=st.sampled_from([each.value for each in TranslationType]), second_stage_pointer=page,
                     address_width=st.integers(0, 7), domain_id=st.integers(0, 0xFFFF))
    return st.one_of(legal, quantum)


def second_stage_entries():
    """Second-stage entries: mostly legal, sometimes any 64 bits."""
    return st.one_of(_entries(SecondStageEntry, readable=bit, writable=bit, page_size=bit, address=page), word)


def iovas(address_bits=48):
    """Byte addresses within a width, and some a little beyond."""
    return st.integers(0, (1 << address_bits + 1) - 1)


@st.composite
def mappings(draw, *, top=4, size=12):
    """Leaves that fit beside each other: (iova, level, page, readable, writable), with at least one permission."""
    leaves = []
    for _ in range(draw(st.integers(1, size))):
        level = draw(st.integers(1, 3))
        # Few regions, so that leaves share tables.
        region = draw(st.integers(0, 3)) << 12 + 9 * (top - 1) | draw(st.integers(0, 3)) << 30
        length = 1 << 12 + 9 * (level - 1)
        iova = (region | draw(st.integers(0, 3)) << 21 | draw(st.integers(0, 3)) << 12) & -length
        if any(iova < other + (1 << 12 + 9 * (each - 1)) and other < iova + length for other, each, *_ in leaves):
            continue
        permission = draw(st.integers(1, 3))
        base = draw(st.integers(1, 1 << 10)) << 18   # 1 GiB aligned, far from the interrupt window
        leaves.append((iova, level, base, permission & 1, permission >> 1))
    return leaves
