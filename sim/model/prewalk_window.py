"""The pre-walk window of a machine with no gateware: a walk is over when it is asked for. Ours."""
from collections.abc import Callable

from hw.spec.codec import encode
from hw.spec.dma import Access
from hw.spec.faults import FaultReason
from hw.spec.prewalk import PrewalkPage, PrewalkRegister, PrewalkSource, PrewalkStatus
from hw.spec.tables import PAGE_BITS
from sim.model.entries import ContextView, check_context, limits
from sim.model.fields import field
from sim.model.register_file import RegisterError
from sim.model.translate import Request, check_request, in_interrupt_window

__all__ = ["PrewalkWindow"]

_IOVA_PAGE = field(PrewalkPage, "iova_page")
_SOURCE_ID = field(PrewalkSource, "source_id")


class PrewalkWindow:
    """Registers of hw.spec.prewalk.PrewalkRegister.

    Parameters
    ----------
    straps : int
        An encoded `Straps`.
    walk : callable(ContextView, Request)
        What a walk does to the caches.
    """

    def __init__(self, straps: int, walk: Callable[[ContextView, Request], None]) -> None:
        self._limit = limits(straps)
        self._walk = walk
        self._values = {PrewalkRegister.CONTEXT_LOW: 0, PrewalkRegister.CONTEXT_HIGH: 0, PrewalkRegister.SOURCE_ID: 0}
        self._done = 0

    def read(self, offset: int) -> int:
        """STATUS. Raises RegisterError for anything else."""
        if offset != PrewalkRegister.STATUS:
            raise RegisterError(f"nothing can be read at {offset:#x} of the pre-walk window")
        return int(encode(PrewalkStatus, done=self._done))

    def write(self, offset: int, value: int) -> None:
        """Write a register; PAGE walks. Raises RegisterError if there is none, or if no device could translate the page."""
        if offset == PrewalkRegister.STATUS:
            self._done = 0
        elif offset == PrewalkRegister.PAGE:
            self._prewalk(value)
        elif offset in self._values:
            self._values[PrewalkRegister(offset)] = value
        else:
            raise RegisterError(f"no register at {offset:#x} of the pre-walk window")

    def _prewalk(self, value: int) -> None:
        entry = self._values[PrewalkRegister.CONTEXT_HIGH] << 64 | self._values[PrewalkRegister.CONTEXT_LOW]
        reason = check_context(self._limit, entry)
        if reason:
            raise RegisterError(f"no walk under context entry {entry:#x}: {FaultReason(reason).name}")
        context = ContextView.of(entry)
        request = Request(_SOURCE_ID.get(self._values[PrewalkRegister.SOURCE_ID]),
                          _IOVA_PAGE.get(value) << PAGE_BITS, Access.READ)
        if (context.pass_through or value & ~_IOVA_PAGE.mask or in_interrupt_window(request.iova)
                or check_request(self._limit, context, request)):
            raise RegisterError(f"no device could translate page {value:#x} under context entry {entry:#x}")
        self._walk(context, request)
        self._done += 1
