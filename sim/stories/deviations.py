"""Where the implementation that recorded the vectors does otherwise than VT-d, by kind.

A kind's rule says exactly when it applies, and that the recording shows just that: what is recorded must be what the golden
model makes of the request by the deviant rule. A difference that no rule explains is a difference.
"""
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hw.spec.dma import Status
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from sim.model.entries import ContextView
from sim.model.memory import Memory
from sim.model.translate import Result, in_interrupt_window, translate
from sim.stories.vector_file import Answer, Image, Vector

__all__ = ["DEVIATIONS", "Situation", "deviation", "is_recorded_answer", "rounds"]

_SIZES = {1 << 12: PageSize.SIZE_4K, 1 << 21: PageSize.SIZE_2M, 1 << 30: PageSize.SIZE_1G}


@dataclass(frozen=True)
class Situation:
    """One vector in its image, and what the golden model says."""

    straps: int
    memory: Memory
    image: Image
    vector: Vector

    def answer(self, *, table_mode: int | None = None) -> Result:
        """The model's answer, in the image's table mode or in another."""
        mode = self.image.table_mode if table_mode is None else table_mode
        return translate(self.memory, root_table=self.image.root_table, straps=self.straps, request=self.vector.request,
                         translation_table_mode=mode)

    @property
    def context(self) -> ContextView | None:
        """The context entry of its device, if there is one to be read."""
        found = [step.value for step in self.answer(table_mode=0).steps if step.structure == "context"]
        return None if not found or found[0] is None else ContextView.of(found[0])


def is_recorded_answer(vector: Vector, result: Result) -> bool:
    """Is this the recorded answer?"""
    if vector.answer is Answer.BLOCKED:
        reason = int(result.fault_reason) if result.recorded else None
        return result.status is Status.BLOCKED and vector.fault_reason == reason
    size = PageSize.UNTRANSLATED if vector.answer is Answer.PASSED else _SIZES[vector.page_bytes]
    return (result.status, result.hpa, result.page_size) == (Status.OK, vector.hpa, size)


def _ignores_table_mode(it: Situation) -> bool:
    return it.image.table_mode != 0 and is_recorded_answer(it.vector, it.answer(table_mode=0))


def _takes_device_out(it: Situation) -> bool:
    reason = it.answer(table_mode=0).fault_reason
    return (it.context is not None and it.context.pass_through and reason is FaultReason.ADDRESS_BEYOND_WIDTH
            and it.vector.answer is Answer.PASSED and it.vector.hpa == it.vector.iova)


def _delivers_interrupts(it: Situation) -> bool:
    return in_interrupt_window(it.vector.iova) and it.vector.answer is Answer.BLOCKED and it.vector.fault_reason is None


def _records_reserved_bits(it: Situation) -> bool:
    result = it.answer(table_mode=0)
    return (result.fault_reason is FaultReason.CONTEXT_RESERVED and not result.recorded
            and it.vector.answer is Answer.BLOCKED and it.vector.fault_reason == FaultReason.CONTEXT_RESERVED)


DEVIATIONS: dict[str, Callable[[Situation], bool]] = {
    "the table mode is ignored": _ignores_table_mode,
    "the width of a pass-through device is not checked": _takes_device_out,
    "an access to the interrupt window goes to interrupt delivery": _delivers_interrupts,
    "a reserved bit of a context is recorded in spite of FPD": _records_reserved_bits,
}
"""What the recording implementation does otherwise than VT-d, by kind: the rule says when, and that the recording shows it."""


def deviation(it: Situation) -> str | None:
    """The kind that explains why the recorded answer is not the model's. None: it is the model's, or nothing explains it."""
    if is_recorded_answer(it.vector, it.answer()):
        return None
    return next((kind for kind, applies in DEVIATIONS.items() if applies(it)), None)


def rounds(situations: list[Situation]) -> Iterator[list[Situation]]:
    """The requests of an image in groups, in each of which a domain ID stands for one set of tables only.

    Contexts of random images share domain IDs, which software may not do: what is cached for one would answer the other.
    """
    tables: dict[int, list[tuple[int, int]]] = {}
    groups: list[list[Situation]] = [[]]
    for it in situations:
        number = 0
        if it.context is not None:
            known = tables.setdefault(it.context.domain_id, [])
            own = (it.context.table_pointer, it.context.address_width)
            if own not in known:
                known.append(own)
            number = known.index(own)
        groups += [[] for _ in range(number + 1 - len(groups))]
        groups[number].append(it)
    return iter(groups)
