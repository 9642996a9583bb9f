"""The simulator's own library, compiled once for all simulators: it is the same in each of them. Ours."""
import hashlib
import shutil
from pathlib import Path

__all__ = ["RuntimeLibrary"]


class RuntimeLibrary:
    """Object files of Verilator's and cocotb's C++, kept beside the simulators.

    Parameters
    ----------
    folder : Path
        Of all simulators.
    made_by : sequence of str
        Everything that an object depends on: versions, flags.
    """

    def __init__(self, folder: Path, *made_by: str) -> None:
        self._folder = folder / f"runtime-{hashlib.sha256(repr(made_by).encode()).hexdigest()[:16]}"

    def lend(self, place: Path) -> None:
        """Put what there is into a simulator's folder: `make` finds it newer than its sources and the Makefile."""
        if self._folder.exists():
            for file in self._folder.iterdir():
                shutil.copyfile(file, place / file.name)

    def keep(self, place: Path) -> None:
        """Take a copy of what `make` has left there; whoever comes first does it."""
        if self._folder.exists():
            return
        copy = place / self._folder.name
        copy.mkdir()
        for file in place.glob("veril*.o"):
            shutil.copyfile(file, copy / file.name)
        try:
            copy.rename(self._folder)
        except OSError:   # another build was first
            shutil.rmtree(copy)
