"""What software began by a register, and the unit ends at a time of its own. Ours."""
from collections import deque
from dataclasses import dataclass, field

from sim.model.caches import InvalidationView
from sim.model.register_file import RegisterFile

__all__ = ["Pending"]


@dataclass
class Pending:
    """Something that software began and the unit ends.

    Members
    -------
    invalidations
        What must still begin for it.
    begun
        How many have begun and are not complete.
    """

    name: str
    invalidations: deque[InvalidationView] = field(default_factory=deque)
    begun: int = 0
    granularity: int = 0

    @property
    def may_end(self) -> bool:
        """Nothing is left to wait for but the unit's own time."""
        return not self.invalidations and not self.begun

    def finish(self, file: RegisterFile) -> None:
        """It has ended: registers show it."""
        name = self.name
        file.pending.discard(name)
        if name == "ICC":
            file.set("CCMD", "CAIG", self.granularity)
            file.set("CCMD", "ICC", 0)
        elif name == "IVT":
            file.set("IOTLB", "IAIG", self.granularity)
            file.set("IOTLB", "IVT", 0)
        elif name == "SRTP":
            file.set("GSTS", "RTPS", 1)
        elif name == "TE":
            file.set("GSTS", "TES", 0)
        else:
            file.set("GSTS", "QIES", 0)
            file.set("IQH", "QH", 0)
