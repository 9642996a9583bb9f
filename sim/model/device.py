"""A unit with no gateware: registers, invalidations, faults and memory around `translate`. Ours.

::

    driver --> ModelTransport --> ModelDevice --+-- 0x0_0000 RegisterFile --> commands
                                                +-- 0x1_0000 update window --> Memory
                                                +-- 0x2_0000 traffic engine: only its phase, cycle and storage
                     test --> dma() ------------+-- translate --> Result, fault records

It promises results, not cycles: time passes by one cycle for each access, and by `pause`.
"""
from collections.abc import Callable

from hw.spec.bench import (
    TRAFFIC_BASE,
    UNIT_BASE,
    UPDATE_BASE,
    TrafficRegister,
    UpdateCommand,
    UpdateOperation,
    UpdateRegister,
    UpdateStatus,
)
from hw.spec.capabilities import STRAPS_DEFAULT, describe_straps
from hw.spec.codec import encode
from hw.spec.dma import Access, RequestKind, Status
from hw.spec.invalidation import Granularity, InvalidationKind
from hw.spec.registers import REGISTERS
from hw.spec.tables import LEVEL_BITS, PageSize, level_shift
from sim.model.caches import InvalidationView
from sim.model.entries import ContextView, limits
from sim.model.fields import field
from sim.model.memory import AccessError, Memory
from sim.model.register_file import RegisterError, RegisterFile
from sim.model.translate import Request, Result, answer, check_early, check_request, fetch_context, translate

__all__ = ["ModelDevice"]

_INVALIDATION_REGISTERS = ("CCMD", "IVA", "IOTLB")
_GCMD = REGISTERS["GCMD"]
_GCMD_KNOWN = _GCMD.field("TE").mask | _GCMD.field("SRTP").mask
_CACHED_SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)
_OPERATION = field(UpdateCommand, "operation")
_ARMED = field(UpdateCommand, "armed")


class ModelDevice:
    """The host's view of bench_top, with no traffic but what `dma` is asked for.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    memory : Memory
        Table and data memory.
    stale : bool
        False: nothing is cached. True: contexts and translations are cached for ever, until an invalidation covers
        them, so that a driver that forgets one is caught.
    command_cycles : int
        How long SRTP, TE and invalidations take; their effect comes at the end. A driver that does not wait is caught.

    Members
    -------
    protocol_errors : list of str
        Writes that broke the handshake; they did nothing.
    """

    def __init__(self, *, straps: int = STRAPS_DEFAULT, memory: Memory | None = None, stale: bool = False,
                 command_cycles: int = 0) -> None:
        self.memory = memory or Memory()
        self.registers = RegisterFile(straps)
        self.protocol_errors: list[str] = []
        self.cycle = 0
        self._straps = straps
        self._strap = describe_straps(straps)
        self._stale = stale
        self._command_cycles = command_cycles
        self._pending: list[tuple[int, str, Callable[[], None]]] = []
        self._root_table = self._table_mode = 0
        self._window: dict[int, int] = dict.fromkeys(UpdateRegister, 0)
        self._traffic: dict[int, int] = {}
        self._contexts: dict[int, ContextView] = {}
        self._lines: dict[tuple[int, int, int], Result] = {}   # domain ID, page size, number of that page

    # --- the host's side ---

    def read_register(self, address: int, width: int) -> int:
        """One register read at a host address. Raises RegisterError."""
        self.pause(1)
        if address < UPDATE_BASE:
            return self.registers.read(address - UNIT_BASE, width)
        place = self._wide(address, width)
        if address < TRAFFIC_BASE:
            return self._window.get(place, 0)
        return self.cycle if place == TrafficRegister.CYCLE else self._traffic.get(place, 0)

    def write_register(self, address: int, width: int, value: int) -> None:
        """One register write at a host address. Raises RegisterError."""
        self.pause(1)
        if address >= UPDATE_BASE:
            place = self._wide(address, width)
            (self._traffic if address >= TRAFFIC_BASE else self._window)[place] = value
            if address == UPDATE_BASE + UpdateRegister.COMMAND:
                self._store(value)
            return
        offset = address - UNIT_BASE
        if self.registers.name_at(offset) in _INVALIDATION_REGISTERS and self._busy(*_INVALIDATION_REGISTERS):
            self.protocol_errors.append(f"{self.registers.name_at(offset)} written while an invalidation is pending")
            return
        for name in self.registers.write(offset, width, value):
            {"GCMD": self._global_command, "CCMD": self._context_command, "IOTLB": self._iotlb_command}[name](value)

    def pause(self, cycles: int) -> None:
        """Let time pass; commands whose time has come take effect, in order."""
        self.cycle += cycles
        while self._pending and self._pending[0][0] <= self.cycle:
            self._pending.pop(0)[2]()

    def _wide(self, address: int, width: int) -> int:
        if width != 8 or address % 8:
            raise RegisterError(f"only aligned accesses of 8 bytes at {address:#x}, not {width}")
        return address - (TRAFFIC_BASE if address >= TRAFFIC_BASE else UPDATE_BASE)

    def _store(self, command: int) -> None:
        """The update window's COMMAND. An armed store is triggered at once: there is no traffic to wait for."""
        window = self._window
        expected = window[UpdateRegister.EXPECTED_HIGH] << 64 | window[UpdateRegister.EXPECTED_LOW]
        desired = window[UpdateRegister.DESIRED_HIGH] << 64 | window[UpdateRegister.DESIRED_LOW]
        address, observed, swapped, error = window[UpdateRegister.ADDRESS], 0, 0, 0
        try:
            observed = self.memory.read128(address & ~0xF)
            if _OPERATION.get(command) == UpdateOperation.STORE_64.value:
                self.memory.store64(address, window[UpdateRegister.DESIRED_LOW])
                swapped = 1
            else:
                swapped = int(self.memory.compare_exchange128(address, expected, desired) == expected)
        except (AccessError, ValueError):
            error = 1
        window[UpdateRegister.STATUS] = encode(
            UpdateStatus, swapped=swapped, error=error, triggered=_ARMED.get(command))
        window[UpdateRegister.OBSERVED_LOW] = observed & (1 << 64) - 1
        window[UpdateRegister.OBSERVED_HIGH] = observed >> 64
        window[UpdateRegister.COMMIT_CYCLE] = self.cycle

    # --- commands ---

    def _busy(self, *names: str) -> bool:
        return any(name in names for _, name, _ in self._pending)

    def _after(self, name: str, effect: Callable[[], None]) -> None:
        self._pending.append((self.cycle + self._command_cycles, name, effect))
        self.pause(0)

    def _global_command(self, value: int) -> None:
        enable, root = value & _GCMD.field("TE").mask != 0, value & _GCMD.field("SRTP").mask != 0
        changes = enable != bool(self.registers.get("GSTS", "TES"))
        if value & ~_GCMD_KNOWN or (root and changes) or ((root or changes) and self._busy("GCMD")):
            self.protocol_errors.append(f"GCMD written with {value:#x}: one known change at a time")
        elif changes:
            self._after("GCMD", lambda: self.registers.set("GSTS", "TES", int(enable)))
        elif root:
            self.registers.set("GSTS", "RTPS", 0)
            self._after("GCMD", self._latch_root)

    def _latch_root(self) -> None:
        self._root_table = self.registers.get("RTADDR", "RTA")
        self._table_mode = self.registers.get("RTADDR", "TTM")
        if self._strap["esrtps"]:
            self._contexts.clear()
            self._lines.clear()
        self.registers.set("GSTS", "RTPS", 1)

    def _context_command(self, _: int) -> None:
        get = self.registers.get
        invalidation = InvalidationView(InvalidationKind.CONTEXT_CACHE.value, get("CCMD", "CIRG"), get("CCMD", "DID"),
                                        get("CCMD", "SID"), get("CCMD", "FM"))

        def finish() -> None:
            if invalidation.granularity:
                self._contexts = {source_id: context for source_id, context in self._contexts.items()
                                  if not invalidation.covers_context(source_id, context.domain_id)}
            self.registers.set("CCMD", "CAIG", invalidation.granularity)
            self.registers.set("CCMD", "ICC", 0)
        self._after("CCMD", finish)

    def _iotlb_command(self, _: int) -> None:
        get = self.registers.get
        granularity, order = get("IOTLB", "IIRG"), get("IVA", "AM")
        if granularity == Granularity.SELECTIVE.value and order > self._strap["max_address_mask"]:
            granularity = Granularity.DOMAIN_SELECTIVE.value   # too many pages: the whole domain, and IAIG says so
        invalidation = InvalidationView(InvalidationKind.IOTLB.value, granularity, get("IOTLB", "DID"),
                                        page=get("IVA", "ADDR"), address_mask=order)

        def finish() -> None:
            if granularity:
                self._lines = {key: line for key, line in self._lines.items() if not invalidation.covers_translation(
                    key[0], key[2] << LEVEL_BITS * key[1], key[1])}
            self.registers.set("IOTLB", "IAIG", granularity)
            self.registers.set("IOTLB", "IVT", 0)
        self._after("IOTLB", finish)

    # --- the devices' side ---

    def dma(self, source_id: int, iova: int, access: Access = Access.READ, *, length_bytes: int = 64,
            kind: RequestKind = RequestKind.UNTRANSLATED, pasid_present: bool = False) -> Result:
        """One DMA. What is blocked is recorded as the registers would show it."""
        request = Request(source_id, iova, access, length_bytes, kind, pasid_present)
        result = self._answer(request)
        if result.status is Status.BLOCKED:
            self.registers.record_fault(request, result)
        return result

    def _answer(self, request: Request) -> Result:
        limit, enabled = limits(self._straps), bool(self.registers.get("GSTS", "TES"))
        context = self._contexts.get(request.source_id)
        if self._stale and enabled and context is None and check_early(request, self._table_mode) is None:
            context, _, _ = fetch_context(self.memory, limit, self._root_table, request.source_id, [])
        if not self._stale or not enabled or context is None:
            return translate(self.memory, root_table=self._root_table, straps=self._straps, request=request,
                             translation_enabled=enabled, translation_table_mode=self._table_mode)
        self._contexts[request.source_id] = context
        early = check_early(request, self._table_mode)
        if early is not None:
            return early
        return self._hit(context, request) or self._miss(context, request)

    def _hit(self, context: ContextView, request: Request) -> Result | None:
        """The answer of the cached line, if there is one whose permission suffices."""
        if context.pass_through or check_request(limits(self._straps), context, request):
            return None
        for size in _CACHED_SIZES:
            line = self._lines.get((context.domain_id, size.value, request.iova >> _page_bits(size)))
            if line is not None and (line.readable or request.access is Access.WRITE) and (
                    line.writable or request.access is Access.READ):
                offset = request.iova & (1 << _page_bits(size)) - 1
                return line._replace(hpa=line.hpa >> _page_bits(size) << _page_bits(size) | offset)
        return None

    def _miss(self, context: ContextView, request: Request) -> Result:
        result = answer(self.memory, limits(self._straps), context, request, [])
        if result.page_size in _CACHED_SIZES and result.status is Status.OK:
            key = context.domain_id, result.page_size.value, request.iova >> _page_bits(result.page_size)
            self._lines[key] = result
        return result


def _page_bits(size: PageSize) -> int:
    return int(level_shift(size.value + 1))
