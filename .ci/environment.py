"""Make the project's environment, or say what the machine lacks and which command installs it.

Needs nothing but Python's standard library. What it makes stays inside the checkout: `.venv`, from `pdm.lock`, and in
`.venv/pdm` the PDM that installs it. Called again it does nothing unless an input has changed; called twice at once, the
second waits for the first.
"""
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PDM = ENVIRONMENT / "pdm"
STAMP = ENVIRONMENT / "made-from"
PDM_PACKAGES = ("pdm==2.28.1", "hishel<2", "unearth<0.18")  # newer sets resolve, and then fail at start
LEAST_PYTHON = (3, 11)
DEBIAN_PACKAGES = {"git": "git", "make": "make", "perl": "perl", "g++": "g++"}

NEEDS_LIBPYTHON = "import find_libpython, sys; sys.exit(find_libpython.find_libpython() is None)"


def missing():
    """What the machine lacks: pairs of what it is for people, and its Debian package."""
    lacking = []
    if sys.version_info < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        lacking.append((f"Python {least} (this is {sys.version.split()[0]}; name another: make PYTHON=... )", "python3"))
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        lacking.append(("Python's venv module", "python3-venv"))
    for program, package in DEBIAN_PACKAGES.items():
        if shutil.which(program) is None:
            lacking.append((program, package))
    return lacking


def inputs():
    """A digest of everything that the environment follows from."""
    digest = hashlib.sha256(f"{ROOT} {sys.version} {sysconfig.get_platform()} {PDM_PACKAGES}".encode())
    for name in ("pyproject.toml", "pdm.lock"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def run(*command):
    """Run a command in the checkout; what it says is shown only if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    result = subprocess.run(command, cwd=ROOT, env=environment | {"PDM_CHECK_UPDATE": "false"}, text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}\nenvironment: that command failed")


def make():
    """Make the environment from its inputs; from nothing if it is another Python's."""
    configuration = ENVIRONMENT / "pyvenv.cfg"
    if not configuration.exists() or f"version = {platform.python_version()}\n" not in configuration.read_text():
        venv.create(ENVIRONMENT, clear=True)
    if not (PDM / "bin" / "pdm").exists():
        print("environment: installing PDM", flush=True)
        venv.create(PDM, with_pip=True, clear=True)
        run(PDM / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PDM_PACKAGES)
    print("environment: installing the packages of pdm.lock", flush=True)
    run(PDM / "bin" / "pdm", "use", "--quiet", ENVIRONMENT / "bin" / "python")
    run(PDM / "bin" / "pdm", "sync", "--quiet", "--clean")
    if subprocess.run([ENVIRONMENT / "bin" / "python", "-c", NEEDS_LIBPYTHON], check=False).returncode != 0:
        release = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit("environment: not found: Python as a shared library, in which the simulation runs its Python\n"
                 f"On Debian:  apt-get install libpython{release}")


def main():
    """Check, then make what is not there or out of date."""
    lacking = missing()
    if lacking:
        for what, _package in lacking:
            print(f"environment: not found: {what}", file=sys.stderr)
        sys.exit(f"On Debian:  apt-get install {' '.join(sorted({package for _what, package in lacking}))}")
    with (ROOT / "pyproject.toml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = inputs()
        if not STAMP.exists() or STAMP.read_text() != wanted:
            STAMP.unlink(missing_ok=True)
            make()
            STAMP.write_text(wanted)
            print("environment: ready", flush=True)


if __name__ == "__main__":
    main()
