"""Changes of tables in a random case, and the invalidations that go with them, or nearly. Ours."""
from collections.abc import Sequence

from hw.spec.codec import encode
from hw.spec.invalidation import ContextCacheDescriptor, DescriptorType, IotlbDescriptor
from hw.spec.tables import PAGE_BITS
from sim.model.translate import Step, translate
from sim.stories.fuzz_case import Draw, request_of
from sim.stories.fuzz_host import CONTEXT_PAGES, DOMAINS, FUNCTIONS, INDICES, QIE, ROOT_PAGES, STATUS_HPA, TABLES, Host

__all__ = ["Changer"]

_TABLE_ENTRIES = [(level, page, index) for level in (1, 2, 3, 4) for page in TABLES[level] for index in INDICES]
_ANY_TABLE = tuple(page for level in (1, 2, 3, 4, 5) for page in TABLES[level])
_LEAF_TABLE = TABLES[1][0] << PAGE_BITS | 3
_DATA_PAGES = (0x54321, 0x40001, 0x12345, 0xFEE01)


class Changer(Host):
    """A host that changes tables under DMA."""

    def _change(self, draw: Draw) -> None:
        """What caches are for, and against: requests, a store into an entry that they used, requests, an invalidation that
        covers it or does not quite, requests.
        """
        taken = self._take(1 + draw.byte() % 4) or self._case.requests[-2:]
        if not taken:
            return
        result = translate(self._memory, root_table=self._root_page, straps=self._case.encoded_straps,
                           request=request_of(taken[0]))
        again = [[*taken[0][:1], taken[0][1] ^ 0x40, *taken[0][2:]], *taken[:2]]
        if draw.chance(192):
            self._play(taken)
            if draw.chance(160):
                self._do("barrier")
        if result.steps:
            step = result.steps[-1 - min(draw.of((0, 0, 0, 1, 2, 3)), len(result.steps) - 1)]
            self._change_entry(draw, step)
        if draw.chance(160):
            self._play(again)
            if draw.chance(80):
                self._do("barrier")
        if draw.chance(190):
            self._invalidate(draw, taken[0], result.domain_id)
        self._play(again)

    def _change_entry(self, draw: Draw, step: Step) -> None:
        what, value = draw.byte(), step.value or 0
        if step.structure in {"root", "context"}:
            words = [value & (1 << 64) - 1, value >> 64]
            if what < 90:
                words[0] ^= draw.of((1, 2, 1 << 12, 3 << 12, 8))           # presence, FPD, another table, pass-through
            elif what < 180:
                words[1] ^= draw.of((1 << 8, 3 << 8, 1, 3))                # another domain, another width
            else:
                words[0] = draw.of((*TABLES[4], *TABLES[3])) << PAGE_BITS | 1
                words[1] = 2 | 1 + draw.byte() % DOMAINS << 8
            self._store_entry(step.hpa, *words, whole=draw.chance(128))
        elif what < 100:
            self._store(draw, step.hpa, value ^ draw.of((1 << 30, 1 << 12, 3 << 12, 1 << 21)))
        elif what < 170:
            self._store(draw, step.hpa, value ^ draw.of((1, 2, 3, 0x80)))
        elif what < 200:
            self._store(draw, step.hpa, value ^ 1 << draw.byte() % 64)
        else:
            self._store(draw, step.hpa, draw.of((0, 0x54321003, _LEAF_TABLE, 0x40000083, 0x80200003)))

    def _invalidate(self, draw: Draw, request: Sequence[int], domain_id: int) -> None:
        """What covers the context and the lines of a request, or nearly."""
        source_id, page = request[0], request[1] >> PAGE_BITS
        domain_id ^= draw.of((0, 0, 0, 0, 0, 1))
        source_id ^= draw.of((0, 0, 0, 0, 0, 1, 4, 6))
        order = min(draw.of((0, 9, 1, 0, 9, 18)), self._case.straps["max_address_mask"])
        half, whole = 1 << order >> 1, 1 << order
        page ^= draw.of((0, half, whole - 1, whole, 0, half, 1 << 9, 1 << 18))   # within the range, or not
        kinds, granularity = draw.byte(), draw.of((3, 3, 2, 3, 1))
        function_mask = draw.of((0, 0, 1, 2, 3))
        if not self._command & QIE:
            if kinds % 4 != 1:
                self._write("CCMD", 1 << 63 | granularity << 61 | function_mask << 32 | source_id << 16 | domain_id)
                self._do("poll", self._case.offset("CCMD") + 4, 4, 1 << 31, 0)
            if kinds % 4 != 2:
                self._write("IVA", page << PAGE_BITS | (kinds >> 4 & 1) << 6 | order)
                self._write("IOTLB", 1 << 63 | granularity << 60 | 3 << 48 | domain_id << 32)
                self._do("poll", self._case.offset("IOTLB") + 4, 4, 1 << 31, 0)
            return
        if kinds % 4 != 1:
            self._put(int(encode(ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=granularity,
                                 domain_id=domain_id, source_id=source_id, function_mask=function_mask)))
        if kinds % 4 != 2:
            self._put(int(encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=granularity, domain_id=domain_id,
                                 drain_writes=kinds >> 2 & 1, drain_reads=kinds >> 3 & 1, address_mask=order, page=page,
                                 hint=kinds >> 4 & 1)))
        self._status += 4
        self._put(5 | 1 << 5 | 1 << 4 | 0x77 << 32 | (STATUS_HPA + self._status) << 64)
        self._write("ICS", 1)
        self._write("IQT", self._tail << 4)
        if not draw.chance(60):
            self._do("poll", self._case.offset("ICS"), 4, 1, 1)

    def _table(self, draw: Draw) -> None:
        """A store into a table: another page, other permissions, or a bit turned over; or another context, or root."""
        what = draw.byte()
        if what >= 200:
            self._context(draw)
            return
        place = draw.byte()     # one in two is among the first entries of their tables, where most requests go
        level, page, index = _TABLE_ENTRIES[place * 4 % len(_TABLE_ENTRIES) + place % 2 if place < 128
                                            else place % len(_TABLE_ENTRIES)]
        hpa = (page << PAGE_BITS) + 8 * index
        old = self._word(hpa)
        if what < 80 and level == 1:
            new = draw.of(_DATA_PAGES) << PAGE_BITS | 3
        elif what < 140:
            new = old & ~3 | draw.byte() & 3
        elif what < 170:
            new = old ^ 1 << draw.byte() % 64
        else:
            new = draw.of(_ANY_TABLE) << PAGE_BITS | 3
        self._store(draw, hpa, new)

    def _store(self, draw: Draw, hpa: int, word: int) -> None:
        """Eight bytes, by the host or by the update port."""
        self._put_word(hpa, word.to_bytes(8, "little"))
        if draw.chance(128):
            self._do("poke", hpa, word.to_bytes(8, "little").hex())
        else:
            self._do("store", hpa, word)

    def _store_entry(self, hpa: int, low: int, high: int, *, whole: bool) -> None:
        """Sixteen bytes, at one instant or by halves."""
        content = (high << 64 | low).to_bytes(16, "little")
        self._put_word(hpa, content)
        if whole:
            self._do("poke", hpa, content.hex())
        else:
            self._do("store", hpa, low)
            self._do("store", hpa + 8, high)

    def _context(self, draw: Draw) -> None:
        """Another context entry, whole (poke) or by halves (two stores); rarely a root entry."""
        bus, function = draw.byte() & 1, draw.of(FUNCTIONS)
        domain = draw.byte() % DOMAINS
        level = (4, 5, 3, 4, 3)[domain]
        table = TABLES[level][draw.byte() & 1]
        low, high = table << PAGE_BITS | int(not draw.chance(40)) | draw.of((0, 0, 0, 2, 8)), level - 2 | domain + 1 << 8
        page = CONTEXT_PAGES[bus]
        if draw.chance(16):
            hpa, word = (ROOT_PAGES[0] << PAGE_BITS) + 16 * bus, page << PAGE_BITS | draw.byte() & 3
            self._put_word(hpa, word.to_bytes(8, "little"))
            self._do("store", hpa, word)
        else:
            self._store_entry((page << PAGE_BITS) + 16 * function, low, high, whole=not draw.chance(128))
