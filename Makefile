PYTHON ?= python3
INSTALLED = .venv/.installed

.PHONY: venv demo test check bench clean

venv: $(INSTALLED)

demo: $(INSTALLED)
	.venv/bin/audit-game demo

test: $(INSTALLED)
	.venv/bin/python -m pytest -q

check: $(INSTALLED)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: $(INSTALLED)
	.venv/bin/python -m benchmarks.foundation

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
