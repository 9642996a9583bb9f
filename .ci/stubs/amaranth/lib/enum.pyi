# An Amaranth enumeration is an ordinary one that also has a shape.
import enum as _enum
from typing import Any

class Enum(_enum.Enum):
    def __init_subclass__(cls, *, shape: Any = ...) -> None: ...

class IntEnum(_enum.IntEnum):
    def __init_subclass__(cls, *, shape: Any = ...) -> None: ...

class Flag(_enum.Flag):
    def __init_subclass__(cls, *, shape: Any = ...) -> None: ...

class IntFlag(_enum.IntFlag):
    def __init_subclass__(cls, *, shape: Any = ...) -> None: ...
