"""The event messages that a unit owes, as an event log tells of its registers. Ours.

A message carries what stood in its registers when it was handed over: at once, as a rule; later if one before it was still
on its way. One that goes where no memory port reaches leaves no event: it may be on its way until one behind it is stored.
"""
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from hw.spec.events import MessageKind
from sim.model.register_file import Message, RegisterFile

__all__ = ["EVENT_REGISTERS", "OwedMessages"]

EVENT_REGISTERS = {MessageKind.FAULT_EVENT: ("FECTL", "FE"), MessageKind.INVALIDATION_EVENT: ("IECTL", "IE")}
"""The control register of an event, and how the names of its registers begin."""

_REACHABLE = 1 << 52


@dataclass(eq=False)
class _Expected:
    """A message that the unit owes. `late`: it may carry what stood in the registers at any instant since `cycle`.

    `optional`: it may be stored, or never.
    """

    cycle: int
    message: Message
    late: bool
    optional: bool = False


class OwedMessages:
    """Messages that have been sent, and not stored.

    Parameters
    ----------
    file : RegisterFile
        Whose messages they are; they are taken out of it.
    """

    def __init__(self, file: RegisterFile) -> None:
        self._file = file
        self._expected: dict[MessageKind, deque[_Expected]] = {kind: deque() for kind in EVENT_REGISTERS}
        self._versions: dict[MessageKind, list[tuple[int, int, int]]] = {kind: [(-1, 0, 0)] for kind in EVENT_REGISTERS}

    def collect(self, cycle: int, *, late: bool = False) -> None:
        """Expect the messages that the registers have sent."""
        for message in self._file.messages:
            waiting = self._expected[message.kind]
            waiting.append(_Expected(cycle, message, late or bool(waiting), optional=message.address >= _REACHABLE))
        self._file.messages.clear()

    def may_come(self, cycle: int, kind: MessageKind) -> None:
        """A message may have been sent, or not."""
        _, address, data = self._versions[kind][-1]
        self._expected[kind].append(_Expected(cycle, Message(kind, address, data), late=True, optional=True))

    def cause_gone(self, kind: MessageKind) -> None:
        """What is not handed over yet will not be."""
        for each in list(self._expected[kind])[1:]:
            each.optional = True

    def under_way(self, kind: MessageKind) -> bool:
        """One may be on its way: whether it is pending still is open."""
        return bool(self._expected[kind])

    def is_owed(self, kind: MessageKind) -> bool:
        """One is on its way, or lost."""
        return any(not each.optional for each in self._expected[kind])

    def take(self, kind: MessageKind, address: int, data: int) -> bool:
        """One was stored: was it owed, or might it come?"""
        waiting = self._expected[kind]
        fitting = [each for each in waiting if (each.message.address, each.message.data) == (address, data) or (
            each.late and (address, data) in self._stood(kind, each.cycle))]
        owed = next((each for each in waiting if not each.optional), None)
        chosen = owed if owed in fitting else next((each for each in fitting if each.optional), None)
        if chosen is None:
            return False
        for each in list(waiting)[:waiting.index(chosen)]:
            if each.message.address >= _REACHABLE and not each.late:
                waiting.remove(each)        # it has gone: they leave in order
        waiting.remove(chosen)
        return True

    def note_versions(self, cycle: int) -> None:
        """The registers may have changed."""
        get = self._file.get
        for kind, (_, prefix) in EVENT_REGISTERS.items():
            address = get(f"{prefix}UADDR", "MUA") << 32 | get(f"{prefix}ADDR", "MA") << 2
            version = address, get(f"{prefix}DATA", "IMD")
            if self._versions[kind][-1][1:] != version:
                self._versions[kind].append((cycle, *version))
                for each in self._expected[kind]:
                    each.optional |= each.late and address >= _REACHABLE

    def _stood(self, kind: MessageKind, since: int) -> Iterator[tuple[int, int]]:
        versions = self._versions[kind]
        for index, (_, address, data) in enumerate(versions):
            if index + 1 == len(versions) or versions[index + 1][0] >= since:
                yield address, data

    def owed(self) -> list[Message]:
        """Messages that should have been stored by now."""
        return [each.message for waiting in self._expected.values() for each in waiting if not each.optional]
