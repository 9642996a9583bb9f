# The project's one entry. Every target makes the environment first, if need be, and runs the PDM script of its name.
#
#   make PYTHON=python3.12 demo        with another Python
#   make test ARGS="-k iotlb"          with arguments for the tool behind the target

SHELL := /bin/sh
PYTHON ?= python3
PDM := .venv/pdm/bin/pdm
RUN = @env -u VIRTUAL_ENV $(PDM) run
export TABLES FILE CASE CONFIG BOARD

.DEFAULT_GOAL := help
.PHONY: help env demo test check docs formal replay experiment fuzz bench verilog bitstream fpga-report regress clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

env: ## the environment of the other targets, in .venv, from pdm.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found. On Debian:  apt-get install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) .ci/environment.py

demo: env ## the story: domains replaced under live DMA, hitless and not; a table, build/demo/report.json and waveforms
	$(RUN) demo $(ARGS)

test: env ## the tests, but for the long ones that tests/deferred.py names; build/test/report.json
	$(RUN) test $(ARGS)

check: env ## lint, types, import rules: seconds
	$(RUN) check

docs: env ## the register reference, docs/registers.md, from hw/spec
	$(RUN) docs $(ARGS)

formal: env ## contracts and cache truth, by a solver
	$(RUN) formal $(ARGS)

replay: replay-arguments env ## recorded answers through the hardware: TABLES=<capture folder or vectors.npz>; build/replay/report.json
	$(RUN) replay "$$TABLES" $(ARGS)

replay-driver: driver-arguments env ## a recorded Linux driver played against the hardware: TABLES=<capture folder>; build/replay-driver/report.json
	$(RUN) replay-driver "$$TABLES" $(ARGS)

experiment: experiment-arguments env ## one's own experiment on the demo's machine: FILE=<module.py>; build/experiment/report.json
	$(RUN) experiment "$$FILE" $(ARGS)

fuzz: env ## random machines against the golden model: N=<images> SEED=<s>, or CASE=<file> to play one again; build/fuzz/report.json
	$(RUN) fuzz $(if $(N),--images $(N)) $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case "$$CASE") $(ARGS)

verilog: env ## the unit as one Verilog file: CONFIG=small, default, large, name=value,... or a .toml file; build/verilog/<name>
	$(RUN) verilog "$${CONFIG:-default}" $(ARGS)

bench: env ## how fast it is, beside bounds and targets: QUICK=1 in a minute, FULL=1 in an hour; build/bench/report.json and plots
	$(RUN) bench $(if $(QUICK),--quick) $(if $(FULL),--full) $(ARGS)

bitstream: bitstream-arguments env ## the bench on a lab board: BOARD=ulx3s_85f; build/bitstream/<board>/top.bit
	$(RUN) bitstream "$$BOARD" $(ARGS)

fpga-report: env ## the unit on an ECP5: cells by block, frequency, critical path; build/fpga-report/report.json
	$(RUN) fpga-report $(ARGS)

regress: env ## check, every test with all its parameters, demo, replay of every capture, random testing, a bitstream, the FPGA report, bench
	$(RUN) regress

clean: ## remove what was built; the environment stays
	rm -rf build .hypothesis .pytest_cache .mypy_cache .ruff_cache

.PHONY: replay-arguments driver-arguments experiment-arguments bitstream-arguments
replay-arguments:
	@test -n "$$TABLES" || { echo "make replay needs a capture:  make replay TABLES=tests/data/real-tables/legacy48" >&2; exit 2; }
	@test -f "$$TABLES/capture.json" || case "$$TABLES" in *.npz) test -f "$$TABLES";; *) false;; esac || \
		{ echo "$$TABLES is neither a capture, a folder with a capture.json, nor a vector file, .npz" >&2; exit 2; }

driver-arguments:
	@test -n "$$TABLES" || { echo "make replay-driver needs a capture:  make replay-driver TABLES=tests/data/real-tables/legacy48" >&2; exit 2; }
	@test -f "$$TABLES/trace_init.txt.gz" || { echo "$$TABLES has no traces: a capture folder with trace_init.txt.gz is needed" >&2; exit 2; }

experiment-arguments:
	@test -f "$$FILE" || { echo "make experiment needs a file:  make experiment FILE=sim/stories/first_experiment.py" >&2; exit 2; }

bitstream-arguments:
	@test -n "$$BOARD" || { echo "make bitstream needs a board:  make bitstream BOARD=ulx3s_85f" >&2; exit 2; }

.DEFAULT:
	@echo "make cannot make '$@'; it can make:" >&2
	@$(MAKE) --no-print-directory help >&2
	@exit 2
