"""The figures as a table for a person."""
from collections.abc import Sequence

from rich.table import Table

from sim.measure.result import Result

__all__ = ["tables_of"]

_COLUMNS = ("L", "bits", "slots", "value", "bound", "ratio", "target")


def tables_of(results: Sequence[Result]) -> list[Table]:
    """One table for each workload, in the order of the figures."""
    tables: dict[str, Table] = {}
    for result in results:
        if result.workload not in tables:
            tables[result.workload] = table = Table(title=result.workload, title_justify="left")
            for heading in ("figure", "which"):
                table.add_column(heading)
            for heading in _COLUMNS:
                table.add_column(heading, justify="right", no_wrap=True)
            table.add_column("met")
            table.add_column("others")
        tables[result.workload].add_row(
            result.name.partition(" ")[2] or result.name, result.variant, str(result.latency), str(result.word_bits),
            str(result.slots), _number(result.value), _number(result.bound), _number(result.ratio),
            f"{'>=' if result.better.value == 'higher' else '<='} {_number(result.target)}" if result.target is not None else "-",
            "-" if result.target is None else "yes" if result.met else "NO",
            ", ".join(map(str, result.peers)), style=None if result.met else "red")
    return list(tables.values())


def _number(value: float | None) -> str:
    """Four digits, or as many as an integer has."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
