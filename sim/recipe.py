"""What a component is made from, told without elaborating it: its parameters, and the sources of its classes. Ours.

Elaboration takes longer than any hash of sources. A component whose recipe was seen before is the design it was then.
"""
import dataclasses
import enum
import fcntl
import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amaranth
from amaranth.back import rtlil
from amaranth.hdl import Value
from amaranth.lib import wiring

from sim.simulator import ROOT

__all__ = ["locked", "recipe", "rtlil_of"]

_OF_EVERY_COMPONENT = ("_MustUse__", "_Component__")   # private members of Amaranth's


class _Untold(Exception):
    """A parameter of a kind whose text need not tell all of it."""


def recipe(component: wiring.Component, name: str) -> str | None:
    """A hash of a component's name, class and parameters, and of every source that may have a say in what it becomes.

    Sources are those of `hw`, and all of the folders in which its classes, and those of the components among its
    parameters, are written. A parameter is a number, a text, an enumeration, a frozen dataclass, a component, or a
    collection of such. Returns None if there is another one: nothing short of elaboration will tell then. A component that
    was asked for counts as used, whether it is elaborated or not.
    """
    classes: set[type] = set()
    try:
        text = _text(component, classes)
    except _Untold:
        return None
    parts = [amaranth.__version__, name, text]
    parts += [f"{path.relative_to(ROOT)}\0{path.read_text()}" for path in sorted(_sources(classes))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _text(value: Any, classes: set[type]) -> str:
    if isinstance(value, bool | int | str | bytes | None | enum.Enum):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(each, classes) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(key, classes)}: {_text(each, classes)}' for key, each in value.items())}}}"
    if isinstance(value, wiring.Component):
        vars(value)["_MustUse__used"] = True
        parameters = {key: each for key, each in vars(value).items()
                      if not key.startswith(_OF_EVERY_COMPONENT) and key not in value.signature.members}
        parameters["ports"] = [(path, member.flow.name, len(Value.cast(port)))
                               for path, member, port in value.signature.flatten(value)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parameters = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        raise _Untold
    classes.add(type(value))
    return f"{type(value).__module__}.{type(value).__qualname__}{_text(parameters, classes)}"


def _sources(classes: set[type]) -> Iterator[Path]:
    folders = {Path(inspect.getfile(each)).resolve().parent for kind in classes for each in kind.__mro__
               if each.__module__ != "builtins"}
    found = {path for folder in folders if folder.is_relative_to(ROOT) for path in folder.glob("*.py")}
    yield from found | set((ROOT / "hw").rglob("*.py"))


def rtlil_of(component: wiring.Component, name: str, *, folder: Path) -> str:
    """What a component becomes, as RTLIL. It is elaborated once for each recipe, and kept in the folder."""
    made_from = recipe(component, name)
    if made_from is None:
        return _elaborated(component, name)
    known = folder / f"{made_from}.il"
    with locked(known.with_suffix(".lock")):
        if not known.exists():
            fresh = known.with_suffix(".new")
            fresh.write_text(_elaborated(component, name))
            fresh.rename(known)
        return known.read_text()


def _elaborated(component: wiring.Component, name: str) -> str:
    return str(rtlil.convert(component, name=name, emit_src=False))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect; it is given back when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
