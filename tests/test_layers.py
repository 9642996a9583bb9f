"""The rules that the folders stand for: who may import whom, how long a file may be, and what nothing is called."""
import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("hw", "sw", "sim", "tests")

MAY_IMPORT = {  # the longest prefix that fits decides
    "hw.spec": ("hw.spec",),
    "hw": ("hw",),
    "sw": ("hw.spec", "sw"),
    "sim": ("hw", "sim", "sw.transport"),
    "sim.model": ("hw.spec", "sim.model"),
    "sim.stories": OURS[:3],
    "tests": OURS,
}
MOST_LINES = 400
NEVER = {  # our word, and the words that are never used for it
    "source_id": {"bdf", "rid"},
    "domain_id": {"asid", "vmid"},
    "hpa": {"paddr", "phys"},
    "root_entry, context_entry, second_stage_entry": {"rte", "cte", "pte"},
    "address_width": {"agaw"},
    "invalidation_queue": {"cmdq"},
}
MACHINE_PATH = re.compile(r"(?<![\w.*])/(?:home|root|tmp|work|mnt|Users)/|\.\./shared")
SOURCES = sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))
TEXTS = sorted(
    path for pattern in ("*.py", "*.md", "*.sv", "*.cpp", "*.toml", "*.yaml", "Makefile", "run") for path in ROOT.rglob(pattern)
    if path.relative_to(ROOT).parts[0] not in {".venv", "build", ".git"})


def belongs(module, package):
    """True if a module is the package, or in it."""
    return module == package or module.startswith(f"{package}.")


def imported(module, source):
    """Every module of ours that a module's source text imports, wherever in the text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names]
            case ast.ImportFrom(module=origin, names=names, level=0):
                found = [f"{origin}.{name.name}" for name in names]
            case ast.ImportFrom(module=origin, names=names, level=level):
                base = ".".join([*module.split(".")[:-level], *([origin] if origin else [])])
                found = [f"{base}.{name.name}" for name in names]
            case _:
                continue
        yield from (name for name in found if name.split(".")[0] in OURS)


def forbidden_imports(module, source):
    """The imports of a module that its layer may not have."""
    layer = max((layer for layer in MAY_IMPORT if belongs(module, layer)), key=len)
    return [name for name in imported(module, source) if not any(belongs(name, may) for may in MAY_IMPORT[layer])]


def forbidden_names(source):
    """The identifiers with a word that has a better one, and the better one."""
    better = {word: ours for ours, words in NEVER.items() for word in words}
    found = {}
    for node in ast.walk(ast.parse(source)):
        for name in (getattr(node, field, None) for field in ("id", "attr", "arg", "name")):
            words = name.lower().split("_") if isinstance(name, str) else []
            found.update((name, better[word]) for word in words if word in better)
    return found


def module_name(path):
    """Dotted name of a file of ours."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_module_imports_only_what_its_layer_may():
    breaches = {module_name(path): found for path in SOURCES if (found := forbidden_imports(module_name(path), path.read_text()))}
    assert breaches == {}


@pytest.mark.parametrize(("module", "source", "breach"), [
    ("hw.spec.tables", "from hw.iommu.config import IommuConfig", "hw.iommu.config.IommuConfig"),
    ("hw.iommu.iotlb", "import sim.bench", "sim.bench"),
    ("sw.driver", "from hw import iommu", "hw.iommu"),
    ("sw.driver", "def late():\n    from sim.model import device", "sim.model.device"),
    ("sim.bench", "from sw.driver import Iommu", "sw.driver.Iommu"),
    ("sim.model.translate", "from sim import runner", "sim.runner"),
    ("sim.model.translate", "from sw.tables import build", "sw.tables.build"),
    ("sim.model.translate", "from ..bench import Bench", "sim.bench.Bench"),
    ("sim.stories.demo", "from tests import conftest", "tests.conftest"),
])
def test_a_breach_of_the_import_rules_is_found(module, source, breach):
    assert forbidden_imports(module, source) == [breach]


def test_what_the_import_rules_allow_is_not_a_breach():
    assert forbidden_imports("sim.stories.demo", "import sw.driver\nfrom hw.top import bench_top") == []
    assert forbidden_imports("sim.transport", "from sw.transport import link\nimport json") == []


def test_no_file_is_longer_than_can_be_read_at_once():
    lengths = {module_name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_every_concept_has_one_name():
    found = {module_name(path): names for path in SOURCES if (names := forbidden_names(path.read_text()))}
    assert found == {}


def test_a_second_name_for_a_concept_is_found():
    assert forbidden_names("def find(self, asid): return self.pte_of[asid]") == {
        "asid": "domain_id", "pte_of": "root_entry, context_entry, second_stage_entry"}


def test_no_file_names_a_place_on_one_machine():
    own = Path(__file__).resolve()
    named = [str(path.relative_to(ROOT)) for path in TEXTS if path != own and MACHINE_PATH.search(path.read_text())]
    assert named == []


def test_a_place_on_one_machine_is_found():
    assert MACHINE_PATH.search("see /home/somebody/notes")
    assert not MACHINE_PATH.search("build/home/x and https/home")


def test_the_lock_names_no_address():
    lock = (ROOT / "pdm.lock").read_text()
    assert "://" not in lock
    assert all("url" not in file for package in tomllib.loads(lock)["package"] for file in package["files"])
