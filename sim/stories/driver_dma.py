"""The DMA of a driver's play: what is cycled through, what is sent at its place in the trace, and what is waited for.

While the tables stand still every answer must be the golden model's. Once those of a later snapshot have been put over them,
what is cached may be of either, and a DMA has only to be answered.
"""
from collections.abc import Sequence

from hw.spec.dma import Access, Status
from hw.spec.tables import PageSize
from sim.bench import Bench
from sim.model.translate import Request, Result
from sim.player import DmaPlayer, PlayedReply, PlayedRequest
from sim.stories.driver_plan import Tables, Traffic
from sim.stories.play_account import PlayAccount
from sw.capture import LiveTranslation

__all__ = ["DriverDma", "agrees", "in_words", "read_of"]

_GAP_CYCLES = 4        # between two DMAs of the cycle


class DriverDma:
    """All of it.

    Parameters
    ----------
    bench : Bench
        The machine.
    tables : Tables
        What is in memory.
    account : PlayAccount
        What was seen goes there.

    Members
    -------
    tables
        What is in memory. Set it when that changes.
    may_pass
        Translation may be off: addresses go through.
    may_be_stale
        The tables were changed under the unit: what is cached may be of earlier ones.
    """

    def __init__(self, bench: Bench, tables: Tables, account: PlayAccount) -> None:
        self._player = DmaPlayer(bench)
        self._account = account
        self._cycled: list[LiveTranslation] = []
        self._posted: list[tuple[int, Request, Result, bool]] = []
        self.tables = tables
        self.may_pass = True
        self.may_be_stale = False

    def start(self) -> None:
        """Forget everything; after a reset."""
        self._player.start()

    def post(self, step: Traffic) -> None:
        """Send these, and go on."""
        first = self._player.post([_played(request) for request in step.requests])
        self._posted += [(first + number, request, expected, self.may_be_stale) for number, (request, expected)
                         in enumerate(zip(step.requests, step.expected, strict=True))]

    async def ask(self, requests: Sequence[Request]) -> list[PlayedReply]:
        """Send these and wait for their answers."""
        replies = await self._player.ask([_played(request) for request in requests])
        self._account.counts["dma"] += len(replies)
        self._account.counts["blocked"] += sum(reply.status is Status.BLOCKED for reply in replies)
        return replies

    def cycle(self) -> None:
        """Send what the machine held at the snapshot, again and again."""
        self._cycled = [row for row in self.tables.capture.live if not row.in_flight]
        self._player.cycle([_played(read_of(row)) for row in self._cycled], gap_cycles=_GAP_CYCLES)

    async def settle(self) -> None:
        """Stop the DMA, and judge what has been answered."""
        await self._player.settle()
        self.judge_cycled()
        replies = self._player.replies(self._posted[0][0], len(self._posted)) if self._are_consecutive() else [
            self._player.replies(number, 1)[0] for number, *_ in self._posted]
        for (_, request, expected, may_be_stale), reply in zip(self._posted, replies, strict=True):
            self._judge(request, expected, reply, may_be_stale, 1)
        self._posted.clear()

    def _are_consecutive(self) -> bool:
        return bool(self._posted) and self._posted[-1][0] - self._posted[0][0] + 1 == len(self._posted)

    def judge_cycled(self) -> None:
        """Judge what was cycled and has been answered."""
        for seen in self._player.take_cycled():
            request = read_of(self._cycled[seen.index])
            passes = (seen.reply.status, seen.reply.hpa, seen.reply.page_size) == (
                Status.OK, request.iova, PageSize.UNTRANSLATED)
            if self.may_pass and passes:
                self._account.counts["dma"] += seen.count
                self._account.counts["untranslated"] += seen.count
            else:
                self._judge(request, self.tables.answer(request), seen.reply, self.may_be_stale, seen.count)

    def _judge(self, request: Request, expected: Result, reply: PlayedReply, may_be_stale: bool, count: int) -> None:
        self._account.counts["dma"] += count
        if reply.status is Status.BLOCKED:
            self._account.counts["blocked"] += count
        if may_be_stale:
            self._account.counts["faults_between_snapshots"] += count * (reply.status is Status.BLOCKED)
        elif not agrees(reply, expected):
            self._account.counts["unexpected_faults"] += count * (reply.status is Status.BLOCKED)
            self._account.differ(f"{count} times {in_words(request, reply)}; the tables give {expected.status.name} "
                         f"{expected.hpa:#x} {expected.page_size.name}")


def read_of(row: LiveTranslation) -> Request:
    """A DMA that reads where a translation is in use."""
    return Request(row.source_id, row.iova, Access.READ)


def _played(request: Request) -> PlayedRequest:
    return PlayedRequest(request.source_id, request.iova, request.access)


def agrees(reply: PlayedReply, expected: Result) -> bool:
    """Is this the model's answer, but for the reason of a fault?"""
    if (reply.status, reply.hpa, reply.page_size) != (expected.status, expected.hpa, expected.page_size):
        return False
    return expected.status is Status.BLOCKED or reply.domain_id == expected.domain_id


def in_words(request: Request, reply: PlayedReply) -> str:
    """A DMA and its answer."""
    answer = reply.fault_reason.name if reply.status is Status.BLOCKED else f"{reply.hpa:#x}, {reply.page_size.name}"
    return (f"{request.access.name} of {request.iova:#x} by {request.source_id:#06x} is answered {reply.status.name}, "
            f"{answer}{', from the IOTLB' if reply.hit else ''}")
