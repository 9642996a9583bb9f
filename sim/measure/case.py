"""What is to be measured: one workload under one set of conditions. Ours."""
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from hw.iommu.config import IommuConfig

__all__ = ["DEFAULT_SLOTS", "LATENCIES", "SLOTS", "Case", "Sizes"]

LATENCIES = (20, 100, 400)
SLOTS = (8, 16, 32, 64)
DEFAULT_SLOTS = 16

_ENTRY_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run of one workload.

    Parameters
    ----------
    bench : str
        Name of the workload's function in sim.stories.bench_workloads.
    latency : int
        Of the memory, in cycles.
    word_bits, slots : int
        Of the unit: two parameters of IommuConfig.
    levels : int
        Of the tables.
    option : int
        What the workload varies: a percentage, a number of tags.
    requests : int
        DMAs to be counted, about.
    seed : int
        Of the random patterns.
    slowed : bool
        The IOTLB answers nobody: the control.
    """

    bench: str
    latency: int
    word_bits: int
    slots: int = DEFAULT_SLOTS
    levels: int = 4
    option: int = 0
    requests: int = 4000
    seed: int = 1
    slowed: bool = False

    @property
    def config(self) -> IommuConfig:
        """The unit that it needs."""
        return IommuConfig(walk_slots=self.slots, memory_word_bits=self.word_bits)

    @property
    def sizes(self) -> "Sizes":
        """What of the unit's sizes the bounds depend on."""
        return Sizes.of(self.config)

    @property
    def label(self) -> str:
        """For progress and errors."""
        option = f" ({self.option})" if self.option else ""
        return f"{self.bench}{option}, L = {self.latency}, {self.word_bits} bits, {self.slots} slots, {self.levels} levels"

    @property
    def command(self) -> str:
        """Measures it again."""
        return (f'make bench ARGS="--bench {self.bench} --latency {self.latency} --word-bits {self.word_bits} '
                f'--slots {self.slots} --seed {self.seed}{" --slowed" if self.slowed else ""}"')

    def changed(self, **fields: Any) -> "Case":
        """Another one, with some fields changed."""
        return replace(self, **fields)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def text(self) -> str:
        """The same case, the same text."""
        return json.dumps(self.as_dict(), sort_keys=True)


@dataclass(frozen=True)
class Sizes:
    """Pages and tables that the unit's caches hold."""

    entries_per_word: int
    reach_pages: int            # 4 KiB translations in the IOTLB
    reach_superpages: int       # 2 MiB translations in the IOTLB
    reach_leaf_tables: int      # level-2 entries in the structure caches
    reach_level_3: int          # level-3 entries there

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        """Of a unit's IommuConfig. A cache that it does not have holds nothing."""
        sizes = asdict(config)
        per_word = sizes["memory_word_bits"] // _ENTRY_BITS

        def reach(cache: str) -> int:
            return int(sizes.get(f"{cache}_sets", 0) * sizes.get(f"{cache}_ways", 0) * per_word)

        return cls(per_word, reach("iotlb"), reach("superpage"), reach("structure"), reach("upper_structure"))
