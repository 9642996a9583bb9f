"""Replies compared with what the model answers, and each difference explained by the entries that led there. Ours."""
from dataclasses import dataclass, field

from hw.spec.dma import Status
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize
from sim.model.memory import Reader
from sim.model.translate import Request, Result, translate

__all__ = ["Difference", "Reply", "Scoreboard"]


@dataclass(frozen=True)
class Reply:
    """What was answered. `hpa` and `page_size` count if OK, `fault_reason` if blocked."""

    status: Status
    hpa: int = 0
    page_size: PageSize | None = None              # None: not known
    fault_reason: FaultReason | None = None        # None: not known, for instance suppressed


@dataclass(frozen=True)
class Difference:
    """One reply that is not the model's."""

    request: Request
    expected: Result
    actual: Reply

    def explain(self) -> str:
        """The request, both answers, and the entries as the model read them."""
        lines = [f"{self.request.access.name} of {self.request.iova:#x} by {self.request.source_id:#06x}",
                 f"  expected {_in_words(self.expected)}",
                 f"  answered {_in_words(self.actual)}"]
        lines += [f"  {step.structure:8} at {step.hpa:#x}: {'refused' if step.value is None else f'{step.value:#x}'}"
                  for step in self.expected.steps]
        return "\n".join(lines)


@dataclass
class Scoreboard:
    """Compares replies with the model, on tables that stand still.

    Parameters
    ----------
    memory
        Where the tables are.
    root_table : int
        Page number of the root table.
    straps : int
        An encoded `Straps`.
    """

    memory: Reader
    root_table: int
    straps: int
    agree: int = 0
    differences: list[Difference] = field(default_factory=list)

    def expect(self, request: Request) -> Result:
        """The model's answer."""
        return translate(self.memory, root_table=self.root_table, straps=self.straps, request=request)

    def compare(self, request: Request, reply: Reply) -> Difference | None:
        """Count one reply; the difference, if there is one."""
        expected = self.expect(request)
        if _same(expected, reply):
            self.agree += 1
            return None
        self.differences.append(Difference(request, expected, reply))
        return self.differences[-1]

    def summary(self) -> str:
        """`N of M agree`."""
        return f"{self.agree} of {self.agree + len(self.differences)} agree"


def _same(expected: Result, reply: Reply) -> bool:
    if expected.status is not reply.status:
        return False
    if expected.status is Status.OK:
        return expected.hpa == reply.hpa and reply.page_size in {None, expected.page_size}
    return expected.status is not Status.BLOCKED or reply.fault_reason in {None, expected.fault_reason}


def _in_words(answer: Result | Reply) -> str:
    if answer.status is Status.BLOCKED:
        reason = "reason not known" if answer.fault_reason is None else FaultReason(answer.fault_reason).name
        return f"BLOCKED, {reason}"
    size = "" if answer.page_size is None else f", {answer.page_size.name}"
    return f"{answer.status.name}, {answer.hpa:#x}{size}"
