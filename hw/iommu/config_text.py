"""A configuration as a person writes it: a name, changes to it, or a file. Ours."""
import tomllib
from dataclasses import fields, replace
from pathlib import Path

from hw.iommu.config import CONFIGS, IommuConfig

__all__ = ["NAMES", "ConfigRefused", "read_config"]

NAMES = tuple(field.name for field in fields(IommuConfig))
"""Everything that can be set."""

_BASE = "base"   # in a file: the configuration that it changes
_DEFAULT = "default"


class ConfigRefused(ValueError):
    """What was written is no configuration; says what would be right."""


def read_config(text):
    """A name for it, fit for a folder, and the configuration.

    Parameters
    ----------
    text : str
        The name of one of `CONFIGS`; or changes, ``name=value`` with commas between them, to the default one or to one
        whose name comes first; or the path of a TOML file of such values, whose `base` may name the one that it changes.

    Raises
    ------
    ConfigRefused
        With a sentence that says what would be right.
    """
    if text.endswith(".toml"):
        return Path(text).stem, _from_file(Path(text))
    first, *changes = (part.strip() for part in text.split(","))
    if "=" in first:
        first, changes = _DEFAULT, [first, *changes]
    values = {}
    for change in changes:
        name, equals, value = (part.strip() for part in change.partition("="))
        if not equals:
            raise ConfigRefused(f"{change!r} changes nothing: write name=value, as in walk_slots=8")
        if name in values:
            raise ConfigRefused(f"{name} is set twice; once is enough")
        try:
            values[name] = int(value, 0)
        except ValueError:
            raise ConfigRefused(f"{name} must be a whole number, not {value!r}") from None
    config = _changed(first, values)
    return "-".join([first, *(f"{name}-{value}" for name, value in values.items())]), config


def _from_file(path):
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigRefused(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:   # of TOML, or of its characters
        raise ConfigRefused(f"{path} is not a TOML file: {error}") from None
    base = values.pop(_BASE, _DEFAULT)
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigRefused(f"{name} must be a whole number, not {value!r}")
    return _changed(base, values)


def _changed(base, values):
    if not isinstance(base, str) or base not in CONFIGS:
        raise ConfigRefused(f"{base!r} is no configuration: there are {', '.join(CONFIGS)}; "
                            f"or write name=value, or the path of a .toml file")
    unknown = [name for name in values if name not in NAMES]
    if unknown:
        raise ConfigRefused(f"{unknown[0]!r} is no size of a configuration: there are {', '.join(NAMES)}")
    try:
        return replace(CONFIGS[base], **values)
    except ValueError as error:
        raise ConfigRefused(str(error)) from None
