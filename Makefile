PYTHON ?= python3
INSTALLED = .venv/.installed

.PHONY: venv demo test check bench interop clean

venv: $(INSTALLED)

demo: $(INSTALLED)
	.venv/bin/audit-game demo

test: $(INSTALLED)
	.venv/bin/python -m pytest -q -n 2 --dist loadfile

check: $(INSTALLED)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: $(INSTALLED)
	.venv/bin/python -m benchmarks.foundation
	.venv/bin/python -m benchmarks.models
	.venv/bin/python -m benchmarks.edits
	.venv/bin/python -m benchmarks.referee
	.venv/bin/python -m benchmarks.tools
	.venv/bin/python -m benchmarks.claims

interop: .venv-tl3/.installed .venv-tl4/.installed
	.venv-tl3/bin/python -m pytest -q -rs tests/interop
	.venv-tl4/bin/python -m pytest -q -rs tests/interop

clean:
	rm -rf .venv .venv-tl3 .venv-tl4 .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# TransformerLens 3 and 4 exclude each other, so each has its own environment; torch first, in our version
.venv-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -e ".[interop-$*]" "pytest>=8.3"
	touch $@
