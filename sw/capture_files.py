"""The files of a capture folder, opened so that whatever is wrong with one is an error naming the file and the rule."""
import csv
import gzip
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hw.spec.tables import PAGE_BYTES
from sw.errors import CaptureMalformed

__all__ = ["CaptureFiles", "rules_of"]

_Row = TypeVar("_Row")
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)


@contextmanager
def rules_of(file: str, where: str = "") -> Iterator[None]:
    """Turn what goes wrong inside into a CaptureMalformed of this file."""
    try:
        yield
    except _UNREADABLE as error:
        raise CaptureMalformed(file, f"{where}must be there and complete ({error or type(error).__name__})") from error
    except KeyError as error:
        raise CaptureMalformed(file, f"{where}must have the key or column {error}") from error
    except _MALFORMED as error:
        raise CaptureMalformed(file, f"{where}{error}") from error


class CaptureFiles:
    """One capture folder.

    Parameters
    ----------
    folder : Path
        Where `capture.json` and the others are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def epochs(self) -> list[dict[str, Any]]:
        """One dictionary per snapshot, from capture.json."""
        with rules_of("capture.json"):
            content = json.loads((self._folder / "capture.json").read_text(encoding="utf-8"))
            epochs = content["epochs"]
            if not isinstance(epochs, list) or not epochs:
                raise ValueError("epochs must be a list of at least one snapshot")
            return epochs

    def rows(self, file: str, parse: Callable[[dict[str, str]], _Row]) -> list[_Row]:
        """Every line of a compressed table, parsed."""
        result = []
        with rules_of(file), gzip.open(self._folder / file, "rt", encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if not table.fieldnames:
                raise ValueError("must begin with a line of column names")
            for line, row in enumerate(table, start=2):
                with rules_of(file, f"line {line}: "):
                    result.append(parse(row))
        return result

    def pages(self, epoch: int) -> dict[int, tuple[int, bytes]]:
        """Kind and contents of every page as it stood at a snapshot: epoch 0 and the changes since, in order."""
        pages: dict[int, tuple[int, bytes]] = {}
        # numpy leaves a file that it cannot read open if it opened it itself
        with (rules_of("tables.npz"), (self._folder / "tables.npz").open("rb") as stream,
              np.load(stream, allow_pickle=False) as archive):
            for step in range(epoch + 1):
                prefix = f"e{step}_" if step else ""
                if step:
                    for address in archive[f"{prefix}removed"].tolist():
                        pages.pop(address, None)
                addresses, kinds, contents = (archive[prefix + column] for column in ("addr", "kind", "data"))
                if contents.shape != (len(addresses), PAGE_BYTES) or kinds.shape != addresses.shape:
                    raise ValueError(f"{prefix}addr, {prefix}kind and {prefix}data must have {PAGE_BYTES} bytes per "
                                     f"page, not shapes {addresses.shape}, {kinds.shape}, {contents.shape}")
                for address, kind, content in zip(addresses.tolist(), kinds.tolist(), contents, strict=True):
                    if address % PAGE_BYTES:
                        raise ValueError(f"page address {address:#x} must be a multiple of {PAGE_BYTES:#x}")
                    pages[address] = kind, content.tobytes()
        return pages
