"""Draws cases of random testing: the machine and its memory. The program is in fuzz_program. Ours.

The tables stand on fixed pages, by level; each has four entries. A domain is a top table and an address width, shared by
two devices. A corruption is a choice of its own beside each entry, so that it can be taken away alone.
"""
from hypothesis import strategies as st

from hw.spec.capabilities import STRAPS_DEFAULT, describe_straps
from hw.spec.codec import encode
from hw.spec.dma import Access, RequestKind
from hw.spec.tables import PAGE_BITS, ContextEntry, RootEntry, SecondStageEntry, level_shift
from sim.stories.fuzz_case import Case, Draw
from sim.stories.fuzz_host import CONTEXT_PAGES, FUNCTIONS, INDICES, ROOT_PAGES, TABLES
from sim.stories.fuzz_program import MOST_STEPS, Programmer

__all__ = ["cases"]

_DEVICES = tuple(bus << 8 | function for bus in (0, 1) for function in FUNCTIONS)
_STRANGERS = (0x0002, 0x0200)                   # no context entry; no root entry
_PAGES = (0x12345, 0x40000, 0x80200, 0x7654321, 0x8000000, 0xFEE00, 0x80201, 0xFEEFF, 0x40001, 0x123, 0xC0000, 0xFED00)
_LARGE_PAGES = (0x40000, 0x80000, 0xC0000, 0x8000000, 0x40200, 0xFEE00, 0x7640000, 0x80200)
_FAR_PAGES = (0x30, 0x31, 1 << 39, 0xFFFF_FFFF)  # unreadable, beyond the end, or nothing there
_UNREADABLE = (0x30, *CONTEXT_PAGES, 0x24, 0x2C, *ROOT_PAGES, 0x2D, 0x29, *CONTEXT_PAGES, 0x40, 0x43)
_ACCESSES = (Access.READ, Access.WRITE, Access.READ, Access.ATOMIC)
_KINDS = (RequestKind.TRANSLATED, RequestKind.TRANSLATION_REQUEST)
_MACHINES: tuple[dict[str, int], ...] = (
    {}, {}, {}, {}, {"host_address_width": 39, "mgaw": 47}, {"mgaw": 38, "sagaw": 0b00010},
    {"host_address_width": 48, "mgaw": 47, "sagaw": 0b00110, "domain_id_width_code": 0, "superpages": 0b01},
    {"snoop_control": 1, "pass_through": 0, "superpages": 0b10}, {"max_address_mask": 0, "domain_id_width_code": 2},
)
_PLACES = ((0x22, 0xF), (0x40, 0x50), (0xF0, 0x20), (0x200, 0x100), (0x3F0, 0x18))   # CAP.FRO, ECAP.IRO


def _corrupted(draw: Draw, entry: int, bits: int) -> int:
    """The entry; rarely with one or two of its bits turned over."""
    what, bit = draw.byte(), draw.byte()
    if what < 242:
        return entry
    return entry ^ 1 << bit % bits ^ (1 << draw.byte() % bits if what >= 253 else 0)


def _second_stage_entry(draw: Draw, level: int) -> int:
    """One entry of a table of this level."""
    what, choice = draw.byte(), draw.byte()
    readable, writable = (1, 1) if what < 208 else ((1, 0), (0, 1), (0, 0), (1, 1))[what % 4]
    large = level in (2, 3) and choice >= 0xC0
    if what >= 248:
        page = _FAR_PAGES[choice % len(_FAR_PAGES)]
    elif level == 1:
        page = _PAGES[choice % len(_PAGES)]
    elif large:
        page = _LARGE_PAGES[choice % len(_LARGE_PAGES)] >> 9 * (level - 1) << 9 * (level - 1)
    else:
        page = TABLES[level - 1][choice % len(TABLES[level - 1])]
    entry = encode(SecondStageEntry, readable=readable, writable=writable, page_size=int(large), address=page)
    return _corrupted(draw, int(entry), 64)


def _context_entry(draw: Draw, device: int, straps: dict[str, int]) -> int:
    """The context entry of the n-th device."""
    what, choice = draw.byte(), draw.byte()
    domain = (device // 2 + (choice >> 6 if what >= 240 else 0)) % 5
    levels = [level for level in (4, 3, 5) if straps["sagaw"] >> level - 2 & 1]
    level = levels[(0, 2, 1, 0, 1)[domain] % len(levels)] if what < 248 else 3 + choice % 3
    table = TABLES[level][(domain + (what in range(244, 248))) % len(TABLES[level])]
    passes = domain == 4 and choice % 2 and (straps["pass_through"] or what >= 200)
    entry = encode(ContextEntry, present=int(not 228 <= what < 234), fault_processing_disable=int(what % 16 == 15),
                   translation_type=2 if passes else 0, second_stage_pointer=table,
                   address_width=level - 2, domain_id=domain + 1)
    return _corrupted(draw, int(entry), 128)


def _image(case: Case, draw: Draw, tables: Draw) -> None:
    """Root tables, context tables, second-stage tables."""
    words: dict[int, int] = {}

    def put(hpa: int, quantum: int) -> None:
        words[hpa], words[hpa + 8] = quantum & (1 << 64) - 1, quantum >> 64

    for number, root in enumerate(ROOT_PAGES):
        for bus, page in enumerate(CONTEXT_PAGES):
            entry = int(encode(RootEntry, present=1, context_table_pointer=page))
            put((root << PAGE_BITS) + 16 * bus, _corrupted(draw, entry, 128) if number == 0 and draw.chance(90) else entry)
    for number, source_id in enumerate(_DEVICES):
        put((CONTEXT_PAGES[source_id >> 8] << PAGE_BITS) + 16 * (source_id & 0xFF), _context_entry(draw, number, case.straps))
    for level, pages in TABLES.items():
        for page in pages:
            for index in INDICES:
                words[(page << PAGE_BITS) + 8 * index] = _second_stage_entry(tables, level)
    case.image = [[hpa, word] for hpa, word in sorted(words.items()) if word]
    if draw.chance(72):
        case.unreadable = [draw.of(_UNREADABLE)]
    if draw.chance(12):
        case.memory_limit = draw.of((0x31, 0x2F, 0x26, 0x42)) << PAGE_BITS


def _machine(draw: Draw) -> Case:
    fro, iro = draw.of(_PLACES)
    straps = describe_straps(STRAPS_DEFAULT) | draw.of(_MACHINES) | {
        "fault_record_offset": fro, "invalidation_offset": iro, "fault_records": draw.of((7, 7, 3, 0, 1)),
        "caching_mode": int(draw.chance(80)), "esrtps": int(draw.chance(80))}
    knobs = {"latency": draw.of((3, 1, 8, 20, 60)), "jitter": draw.of((0, 0, 5, 30)), "interval": draw.of((1, 1, 2, 4)),
             "reorder": int(draw.chance(128)), "seed": draw.byte() + 1,
             "retire_delay": draw.of((0, 20, 0, 300)), "outstanding": draw.of((1024, 16, 2, 1024)),
             "fetch_delay": draw.of((0, 0, 10, 50)), "execute_delay": draw.of((0, 0, 20, 100))}
    if draw.chance(40):
        context_cache, iotlb = draw.of(((1, 0), (0, 1), (1, 1)))
        knobs |= {"context_cache_off": context_cache, "iotlb_off": iotlb, "caches_off_source_id": draw.of(_DEVICES)}
    return Case(straps=straps, knobs=knobs)


_LOCALITIES = ((0x0F, 0x1F, 0xE7), (0xF3, 0x03, 0xE0), (0xF7, 0x05, 0xE1), (0xFF, 0xFF, 0xFF), (0xF1, 0x11, 0xE0))
"""Bits of a request's device, upper and lower byte that count: where few do, caches are hit, and stale."""


def _request(draw: Draw, locality: tuple[int, int, int]) -> list[int]:
    """Four bytes: device, access and what is odd about it; the indices of its page."""
    device, odd, upper, lower = (draw.byte() for _ in range(4))
    if odd < 216:
        device, upper, lower = (each & mask for each, mask in zip((device, upper, lower), locality, strict=True))
    source_id = _DEVICES[device % 16 % len(_DEVICES)] if device < 0xF8 else _STRANGERS[device % 2]
    access = _ACCESSES[device >> 4 & 3]
    levels = [upper & 3, upper >> 2 & 3, upper >> 4 & 1 and upper >> 5 & 1, lower & 3, lower >> 2 & 1]
    iova = sum(INDICES[index] << level_shift(level) for index, level in zip(levels, (1, 2, 3, 4, 5), strict=True))
    if lower >= 0x60:
        iova %= 1 << level_shift(4)                     # what three levels can translate
    kind, length, pasid = RequestKind.UNTRANSLATED, (4, 64)[odd & 1], 0
    if odd >= 252:
        pasid = 1
    elif odd >= 246:
        kind = _KINDS[odd % 2]
    elif odd >= 238:
        iova = 0xFEE0_0000 + (upper << 12)
    elif odd >= 232:
        iova |= 1 << 39 + upper % 25
    return [source_id, iova | (lower >> 2) << 6 & 0xFC0, access.value, kind.value, length, pasid]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A case. What is drawn from hypothesis is a handful of byte strings and one for each step of the program."""
    setup = Draw(draw(st.binary(min_size=128, max_size=128)))
    step_count, count = setup.byte() % (MOST_STEPS + 1), setup.byte()
    tables = Draw(draw(st.binary(min_size=256, max_size=256)))
    case = _machine(setup)
    _image(case, setup, tables)
    steps = [draw(st.binary(min_size=48, max_size=48)) for _ in range(step_count)]
    stream = Draw(draw(st.binary(min_size=4 * count, max_size=4 * count)))
    locality = setup.of(_LOCALITIES)
    case.requests = [_request(stream, locality) for _ in range(count)]
    Programmer(case, setup).run(steps)
    return case
