"""Caches that keep everything until an invalidation covers it, so that a driver that forgets one is caught. Ours.

In caching mode what is not present is kept too: a context that faults under domain ID 0, an entry that permits nothing
as a page that permits nothing. A driver that forgets to invalidate what it has *added* is caught then.

Source: VT-d 4.1, 6.1 (caching mode), 6.2 (what may be cached).
"""
from typing import NamedTuple

from hw.spec.capabilities import describe_straps
from hw.spec.dma import Access, Status
from hw.spec.faults import FaultReason
from hw.spec.invalidation import InvalidationKind
from hw.spec.tables import LEVEL_BITS, PageSize, level_shift
from sim.model.caches import InvalidationView
from sim.model.entries import READABLE, WRITABLE, ContextView, limits
from sim.model.memory import Reader
from sim.model.translate import Request, Result, Step, answer, blocked, check_request, fetch_context

__all__ = ["NEGATIVE_CONTEXT_REASONS", "NEGATIVE_DOMAIN_ID", "StaleCaches", "met_nothing"]

NEGATIVE_CONTEXT_REASONS = (FaultReason.CONTEXT_NOT_PRESENT, FaultReason.CONTEXT_INVALID, FaultReason.CONTEXT_RESERVED)
"""Reasons for which a context entry may be cached in caching mode."""
NEGATIVE_DOMAIN_ID = 0
"""Under which such an entry is cached."""

_CACHED_SIZES = (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)
_PERMISSION_REASONS = (FaultReason.WRITE_PERMISSION, FaultReason.READ_PERMISSION)


class _NegativeContext(NamedTuple):
    """A context entry that blocks every request."""

    fault_reason: FaultReason
    hidden: bool            # it suppresses the record of qualified faults
    domain_id: int = NEGATIVE_DOMAIN_ID


def met_nothing(result: Result) -> bool:
    """True if the walk ended at a second-stage entry that is neither readable nor writable."""
    last = result.steps[-1] if result.steps else None
    return (result.fault_reason in _PERMISSION_REASONS and last is not None and last.value is not None
            and not last.value & (READABLE | WRITABLE))


class StaleCaches:
    """Contexts and translations, cached for ever.

    Parameters
    ----------
    straps : int
        An encoded `Straps`; `caching_mode` decides whether what is not present is cached.
    """

    def __init__(self, straps: int) -> None:
        self._limit = limits(straps)
        self._caching_mode = bool(describe_straps(straps)["caching_mode"])
        self._contexts: dict[int, ContextView | _NegativeContext] = {}
        self._lines: dict[tuple[int, int, int], Result] = {}   # domain ID, page size, number of that page

    def answer(self, memory: Reader, root_table: int, request: Request) -> Result:
        """Answer a request that has passed the checks that need no table, from here if that is possible."""
        steps: list[Step] = []
        context = self._contexts.get(request.source_id)
        if context is None:
            found, reason, hidden = fetch_context(memory, self._limit, root_table, request.source_id, steps)
            context = found or _NegativeContext(reason, hidden)
            if found or (self._caching_mode and reason in NEGATIVE_CONTEXT_REASONS):
                self._contexts[request.source_id] = context
        if isinstance(context, _NegativeContext):
            return blocked(context.fault_reason, steps, hidden=context.hidden)
        return self._hit(context, request) or self._miss(memory, context, request)

    def prewalk(self, memory: Reader, context: ContextView, request: Request) -> None:
        """Keep the translation of a page that nobody has asked for yet, if there is one."""
        result = answer(memory, self._limit, context, request, [])
        if result.status is Status.OK:
            self._lines[context.domain_id, result.page_size.value, request.iova >> _page_bits(result.page_size)] = result

    def invalidate(self, invalidation: InvalidationView) -> None:
        """Drop what it covers."""
        if invalidation.kind == InvalidationKind.CONTEXT_CACHE.value:
            self._contexts = {source_id: context for source_id, context in self._contexts.items()
                              if not invalidation.covers_context(source_id, context.domain_id)}
        else:
            self._lines = {key: line for key, line in self._lines.items() if not invalidation.covers_translation(
                key[0], key[2] << LEVEL_BITS * key[1], key[1])}

    def clear(self) -> None:
        """Drop everything."""
        self._contexts.clear()
        self._lines.clear()

    def _hit(self, context: ContextView, request: Request) -> Result | None:
        """The answer of the cached line, if its permission suffices or it permits nothing at all."""
        if context.pass_through or check_request(self._limit, context, request):
            return None
        for size in _CACHED_SIZES:
            line = self._lines.get((context.domain_id, size.value, request.iova >> _page_bits(size)))
            if line is None:
                continue
            if line.status is Status.BLOCKED:
                read = request.access is Access.READ
                reason = FaultReason.READ_PERMISSION if read else FaultReason.WRITE_PERMISSION
                return blocked(reason, [], context=context)
            if (line.readable or request.access is Access.WRITE) and (line.writable or request.access is Access.READ):
                offset = request.iova & (1 << _page_bits(size)) - 1
                return line._replace(hpa=line.hpa >> _page_bits(size) << _page_bits(size) | offset)
        return None

    def _miss(self, memory: Reader, context: ContextView, request: Request) -> Result:
        result = answer(memory, self._limit, context, request, [])
        negative = self._caching_mode and met_nothing(result)
        size = PageSize.SIZE_4K if negative else result.page_size
        if negative or (size in _CACHED_SIZES and result.status is Status.OK):
            self._lines[context.domain_id, size.value, request.iova >> _page_bits(size)] = result
        return result


def _page_bits(size: PageSize) -> int:
    return int(level_shift(size.value + 1))
