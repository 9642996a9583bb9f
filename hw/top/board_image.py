"""What a board starts with until a computer talks to it: tables, data pages, and the accesses that set the traffic going. Ours.

::

    page 0       root table           pages 2..4   second-stage tables, levels 3, 2, 1
    page 1       context table        page 5 + n   data page n, at IOVA page n
"""
from hw.spec.bench import (
    COUNTER_BASE,
    DEVICE_BASE,
    DEVICE_STRIDE,
    PAGE_ENTRY_BYTES,
    PAGE_LIST_BASE,
    TRAFFIC_BASE,
    UNIT_BASE,
    Counter,
    DataWord,
    DeviceConfig,
    DeviceDomains,
    DeviceField,
    PageEntry,
    Pattern,
    TrafficControl,
    TrafficRegister,
    page_signature,
)
from hw.spec.capabilities import STRAPS_DEFAULT, Straps
from hw.spec.codec import decode, encode
from hw.spec.memory import QUANTUM_BYTES
from hw.spec.registers import REGISTERS, register_offset
from hw.spec.tables import ENTRY_BYTES, PAGE_BITS, PAGE_BYTES, ContextEntry, RootEntry, SecondStageEntry
from hw.top.built_in_host import Step, Watch

__all__ = ["FIRST_DATA_PAGE", "LAMPS", "first_source_id", "image", "steps", "watches"]

_ROOT, _CONTEXT, _TOP, _MIDDLE, _LEAVES, FIRST_DATA_PAGE = range(6)
_ADDRESS_WIDTH_39 = 1
_WORDS_PER_PAGE = PAGE_BYTES // QUANTUM_BYTES
_BAD_VERDICTS = (Counter.WRONG, Counter.AFTER_FREE, Counter.ERROR)
LAMPS = ("running", "fault", "law_broken")
"""What is shown: DMAs are being done (blinks); a fault is recorded or a DMA was blocked; the checker found a DMA in the
wrong place."""


def first_source_id(device):
    """The source ID of a device: bus 0, one slot each."""
    return device << 3


def image(*, devices, pages):
    """The memory's first words, for `pages` data pages that every device may read and write."""
    words = [0] * (_WORDS_PER_PAGE * (FIRST_DATA_PAGE + pages))

    def put(page, byte, value, width):
        place = page * PAGE_BYTES + byte
        words[place // QUANTUM_BYTES] |= value << 8 * (place % QUANTUM_BYTES)
        assert place % QUANTUM_BYTES + width <= QUANTUM_BYTES

    put(_ROOT, 0, encode(RootEntry, present=1, context_table_pointer=_CONTEXT), ENTRY_BYTES)
    for device in range(devices):
        put(_CONTEXT, ENTRY_BYTES * first_source_id(device), encode(
            ContextEntry, present=1, second_stage_pointer=_TOP, address_width=_ADDRESS_WIDTH_39, domain_id=device + 1), ENTRY_BYTES)
    for table, below in ((_TOP, _MIDDLE), (_MIDDLE, _LEAVES)):
        put(table, 0, encode(SecondStageEntry, readable=1, writable=1, address=below), 8)
    for page in range(pages):
        put(_LEAVES, 8 * page, encode(SecondStageEntry, readable=1, writable=1, address=FIRST_DATA_PAGE + page), 8)
        for word in range(_WORDS_PER_PAGE):
            put(FIRST_DATA_PAGE + page, QUANTUM_BYTES * word,
                encode(DataWord, signature=page_signature(FIRST_DATA_PAGE + page)), QUANTUM_BYTES)
    return words


def _register(name):
    straps = decode(Straps, STRAPS_DEFAULT)
    return UNIT_BASE + register_offset(name, fro=straps.fault_record_offset, iro=straps.invalidation_offset)


def _bit(register, field):
    return REGISTERS[register].field(field).mask


def steps(*, devices, pages, writes=4):
    """Name the pages and the devices, turn translation on, and let the traffic run: `writes` of 16 DMAs write."""
    yield Step(_register("RTADDR"), _ROOT << PAGE_BITS)
    for command, status in (("SRTP", "RTPS"), ("TE", "TES")):
        yield Step(_register("GCMD"), _bit("GCMD", command), wide=False)
        yield Step(_register("GSTS"), _bit("GSTS", status), wide=False, write=False)
    for page in range(pages):
        entry = encode(PageEntry, iova_page=page, readable=1, writable=1, old_page=FIRST_DATA_PAGE + page,
                       new_page=FIRST_DATA_PAGE + page)
        for word in range(3):
            yield Step(PAGE_LIST_BASE + PAGE_ENTRY_BYTES * page + 8 * word, entry >> 64 * word & (1 << 64) - 1)
    for device in range(devices):
        row = TRAFFIC_BASE + DEVICE_BASE + DEVICE_STRIDE * device
        yield Step(row + DeviceField.DOMAINS, encode(
            DeviceDomains, old_domain_id=device + 1, new_domain_id=device + 1, old_permitted=1, new_permitted=1))
        yield Step(row + DeviceField.CONFIG, encode(
            DeviceConfig, source_id=first_source_id(device), first_page=0, page_count=pages,
            pattern=Pattern.RANDOM if device % 2 else Pattern.SEQUENTIAL, writes=writes, bus_master=1, enabled=1))
    yield Step(TRAFFIC_BASE + TrafficRegister.CONTROL, encode(TrafficControl, run=1, outstanding_limit=64))


def watches(*, devices, blink_bit):
    """The registers behind each lamp: pairs of lamp and Watch. `running` shows bit `blink_bit` of the DMAs done."""
    yield "running", Watch(TRAFFIC_BASE + TrafficRegister.TOTAL, 1 << blink_bit)
    yield "fault", Watch(_register("FSTS"), _bit("FSTS", "PPF") | _bit("FSTS", "PFO"), wide=False)
    counter_mask = (1 << 32) - 1
    for device in range(devices):
        base = TRAFFIC_BASE + COUNTER_BASE + DEVICE_STRIDE * device
        yield "fault", Watch(base + 8 * Counter.BLOCKED, counter_mask)
        for verdict in _BAD_VERDICTS:
            yield "law_broken", Watch(base + 8 * verdict, counter_mask)
    yield "law_broken", Watch(TRAFFIC_BASE + TrafficRegister.STRAY, (1 << 64) - 1)
