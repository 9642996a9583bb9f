"""Translation structures of legacy mode: root, context and second-stage entries.

    RTADDR --> root table --(bus)--> context table --(devfn)--> second-stage tables --(IOVA)--> page

Fields whose names begin with an underscore are reserved: they must be zero in a present entry, unless a comment
says *ignored*.  Predicates work alike on hardware values and on constants.

Source: VT-d 4.1, 9.1 (root), 9.3 (context), 9.8 (second stage).
"""
from amaranth.lib import data, enum

__all__ = [
    "PAGE_BITS", "PAGE_BYTES", "ENTRY_BYTES", "TABLE_ENTRIES", "LEVEL_BITS", "MAX_LEVEL",
    "TranslationType", "PageSize", "RootEntry", "ContextEntry", "SecondStageEntry",
    "address_bits", "top_level", "level_shift", "table_index",
]

PAGE_BITS = 12         # log2 of the 4 KiB page
PAGE_BYTES = 4096
ENTRY_BYTES = 16       # root and context entries; a second-stage entry is 8 bytes
LEVEL_BITS = 9         # IOVA bits consumed per level
TABLE_ENTRIES = 512    # second-stage entries per table page
MAX_LEVEL = 5          # SS-PML5E


class TranslationType(enum.Enum, shape=2):
    """ContextEntry.translation_type (VT-d 9.3, TT)."""
    MULTI_LEVEL = 0             # untranslated requests are translated, others blocked
    MULTI_LEVEL_DEVICE_TLB = 1  # ATS requests too; needs ECAP.DT
    PASS_THROUGH = 2            # output = input; needs ECAP.PT
    RESERVED_3 = 3


class PageSize(enum.Enum, shape=2):
    """The size of the page that a translation came from, as level - 1."""
    SIZE_4K = 0
    SIZE_2M = 1
    SIZE_1G = 2
    UNTRANSLATED = 3  # pass-through, or translation is off


class RootEntry(data.Struct):
    """One bus (VT-d 9.1). 128 bits, index = source_id[15:8]."""
    present: 1
    _reserved_11_1: 11
    context_table_pointer: 52   # page number of the context table (HPA 63:12); bits at and above HAW reserved
    _reserved_127_64: 64


class ContextEntry(data.Struct):
    """One device function (VT-d 9.3). 128 bits, index = source_id[7:0]."""
    present: 1
    fault_processing_disable: 1  # hides qualified faults; honoured even with present = 0
    translation_type: TranslationType
    _reserved_11_4: 8
    second_stage_pointer: 52     # page number of the top table (HPA 63:12); bits at and above HAW reserved
    address_width: 3             # AW: 1 = 39-bit, 2 = 48-bit, 3 = 57-bit; must be in CAP.SAGAW
    _ignored_70_67: 4            # ignored by hardware
    _reserved_71: 1
    domain_id: 16                # cache tag; bits beyond CAP.ND reserved
    _reserved_127_88: 40


class SecondStageEntry(data.Struct):
    """One second-stage paging entry (VT-d 9.8). 64 bits. Present means readable or writable: there is no present bit."""
    readable: 1
    writable: 1
    executable: 1                # ignored: execute is not checked
    _ignored_6_3: 4              # memory type, ignored unless EMTE
    page_size: 1                 # leaf at level 2 or 3; reserved at 4 and 5; ignored at 1
    accessed: 1                  # ignored in legacy mode
    dirty: 1                     # ignored in legacy mode
    _ignored_10: 1
    snoop: 1                     # reserved unless ECAP.SC
    address: 40                  # page number (HPA 51:12); bits at and above HAW reserved; low bits reserved in superpages
    _ignored_61_52: 10
    transient_mapping: 1         # reserved unless ECAP.DT
    _ignored_63: 1               # software may use it


def address_bits(address_width):
    """IOVA bits that an AW encoding (1..3) covers: 39, 48 or 57."""
    return 30 + 9 * address_width


def top_level(address_width):
    """Level of the table that second_stage_pointer names: 3, 4 or 5."""
    return address_width + 2


def level_shift(level):
    """Lowest IOVA bit that indexes a table of this level: 12, 21, 30, 39, 48."""
    return PAGE_BITS + LEVEL_BITS * (level - 1)


def table_index(iova, level):
    """Index into a table of `level` for an integer IOVA (software side)."""
    return (iova >> level_shift(level)) & (TABLE_ENTRIES - 1)
