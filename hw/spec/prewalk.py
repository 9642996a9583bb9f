"""The pre-walk window at PREWALK_BASE: the host has pages walked before a device asks for them. Ours.

Every register is 64 bits wide, at 8-byte offsets. What it is for, and how far one may rely on it: docs/performance.md.
"""
from amaranth.lib import data, enum

__all__ = ["PrewalkPage", "PrewalkRegister", "PrewalkSource", "PrewalkStatus"]


class PrewalkRegister(enum.IntEnum, shape=8):
    """Offsets in the window."""
    CONTEXT_LOW = 0x00         # a context entry as it will stand in memory, bits 63:0; not looked up anywhere
    CONTEXT_HIGH = 0x08        # ... bits 127:64
    SOURCE_ID = 0x10           # PrewalkSource: the device that the event log will name
    PAGE = 0x18                # PrewalkPage: writing it asks for the walk of that page under that context
    STATUS = 0x20              # PrewalkStatus; any write sets `done` and `disturbed` to zero. The others are write only


class PrewalkSource(data.Struct):
    """SOURCE_ID."""
    source_id: 16


class PrewalkPage(data.Struct):
    """PAGE. Refused if it is no page that a device could translate under the context: see PrewalkWindow."""
    iova_page: 52              # IOVA[63:12]
    _reserved_63_52: 12


class PrewalkStatus(data.Struct):
    """STATUS."""
    waiting: 1                 # a walk waits for the page walker; until it is taken no other register may be written
    disturbed: 1               # an invalidation began while a walk was pending, which may then have loaded nothing
    _reserved_15_2: 14
    pending: 16                # walks asked for that are not over
    done: 16                   # walks that are over, whatever they found; wraps
