# amaranth: UnusedElaboratable=no
"""`make experiment FILE=<module.py>`: run one's own experiment on the bench of the demo."""
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hw.top.bench_top import BenchTop
from sim.runner import BUILD, ROOT, SimulationFailed, build, run
from sim.stories.demo import DEMO_CONFIG

__all__ = ["main"]


def main(file: Annotated[Path, typer.Argument(help="A Python file with cocotb tests, inside this checkout.")],
         waves: Annotated[bool, typer.Option(help="Record every signal of the design.")] = False) -> None:
    """Run the experiments of a file and say whether they held."""
    console = Console(width=120, highlight=False)
    if not file.is_file() or not file.resolve().is_relative_to(ROOT) or file.suffix != ".py":
        console.print(f"{file} must be a Python file inside this checkout, such as sim/stories/first_experiment.py",
                      style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2)
    module = ".".join(file.resolve().relative_to(ROOT).with_suffix("").parts)
    folder = BUILD / "experiment"
    try:
        with console.status(f"running {module} (the first build takes a minute or two)"):
            done = run(build(BenchTop(DEMO_CONFIG), "bench_top", waves=waves), module, waves=waves, folder=folder)
    except SimulationFailed as error:
        (folder / "report.json").write_text(json.dumps({"module": module, "held": False, "error": str(error)}, indent=2))
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    (folder / "report.json").write_text(json.dumps(
        {"module": module, "held": True, "tests": done.tests, "seconds": done.seconds, "result": done.value}, indent=2))
    console.print(f"{done.tests} of {done.tests} experiments of {module} held, in {done.seconds:.1f} s; "
                  f"files in {folder.relative_to(ROOT)}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
