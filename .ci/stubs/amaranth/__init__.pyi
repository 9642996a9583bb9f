# Amaranth has no types: everything is Any, but for what stands beside this file.
from typing import Any

def __getattr__(name: str) -> Any: ...
