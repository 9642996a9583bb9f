"""What other open units reach on the same workloads, for the table of `make bench`. Ours are the measurements.

Only what was measured under the contract of docs/benchmarks.md stands here: table memory with one read a cycle and the
first beat `latency` cycles after the address handshake, second stage alone, three levels of 4 KiB pages. Where sizes
differ (an IOTLB of 16 entries, say) the note says so. A newer commit may be faster.
"""
from dataclasses import dataclass
from typing import Any

__all__ = ["PEERS", "Peer", "PeerFigure", "peer_figures"]


@dataclass(frozen=True)
class Peer:
    """A unit of somebody else's: `kind` of it, and the commit that was measured."""

    name: str
    repository: str
    commit: str
    date: str
    kind: str


@dataclass(frozen=True)
class PeerFigure:
    """One figure of a peer, in the unit of our benchmark of the same name and variant.

    `mark`: M measured in simulation of its RTL. `as_measured` is the figure as it was taken down.
    """

    peer: Peer
    name: str
    variant: str
    latency: int | None     # None: the memory's latency does not matter
    value: float
    as_measured: str
    mark: str = "M"
    note: str = ""

    def __str__(self) -> str:
        return f"{self.peer.name} {self.value:.3g}"

    def as_row(self) -> dict[str, Any]:
        """For the report."""
        return {"peer": self.peer.name, "repository": self.peer.repository, "commit": self.peer.commit,
                "date": self.peer.date, "value": self.value, "as_measured": self.as_measured, "mark": self.mark,
                "note": self.note}


ZDL = Peer("ZDL", "zero-day-labs/riscv-iommu", "18ad30a", "2024-08-20", "RTL, RISC-V tables")
BJL = Peer("BJL", "BrendanJamesLynskey/RISCV_IOMMU", "db1d7c0", "2026-03-19", "RTL, Sv32 tables of two levels")

_IOTLB_16 = "IOTLB of 16 entries"
_SV32 = "two levels; one request at a time with its data"


def _rate(peer: Peer, name: str, variant: str, latency: int | None, cycles: float, note: str = "") -> PeerFigure:
    """A figure taken as cycles per request, shown as requests per cycle."""
    return PeerFigure(peer, name, variant, latency, 1 / cycles, f"{cycles:g} cycles/request", note=note)


def _cycles(peer: Peer, name: str, variant: str, latency: int | None, cycles: float, note: str = "") -> PeerFigure:
    return PeerFigure(peer, name, variant, latency, cycles, f"{cycles:g} cycles", note=note)


PEERS: tuple[PeerFigure, ...] = (
    _rate(ZDL, "W1 hit_throughput", "", None, 3.00, "one page"),
    _rate(BJL, "W1 hit_throughput", "", None, 9.00, _SV32),
    _cycles(ZDL, "W1 hit_latency", "", None, 2),
    _cycles(BJL, "W1 hit_latency", "", None, 7, _SV32),
    _cycles(ZDL, "W2 cold_walk", "3 levels", 20, 92),
    _cycles(ZDL, "W2 warm_walk", "3 levels", 20, 66, "no paging-structure cache: 3 reads"),
    _cycles(ZDL, "W2 warm_walk", "3 levels", 100, 306, "no paging-structure cache: 3 reads"),
    _rate(ZDL, "W3 random_4k", "", 20, 66.2, f"{_IOTLB_16}, 1,024 pages"),
    _rate(BJL, "W3 random_4k", "", 20, 60.7, f"{_IOTLB_16}, 1,024 pages, two levels"),
    _rate(ZDL, "W4 sequential_pages", "", 20, 67.0, f"{_IOTLB_16}, 24 pages"),
    *(_cycles(ZDL, "W5 victim_rate", f"p = {percent} %", 20, cycles, _IOTLB_16)
      for percent, cycles in ((0, 3.00), (1, 3.64), (2, 4.10), (5, 5.88), (10, 8.91), (20, 15.6))),
    _cycles(ZDL, "W6 page_selective", "", 20, 1564, "64 and a fence"),
    _cycles(ZDL, "W7 cycles_per_fault", "", 20, 3.00),
)


def peer_figures(name: str, latency: int, variant: str) -> tuple[PeerFigure, ...]:
    """The figures to be shown beside one of ours. A figure without a variant stands beside every one of them."""
    return tuple(figure for figure in PEERS
                 if figure.name == name and figure.latency in (None, latency) and figure.variant in ("", variant))
