"""Every paper that is measured says which it is and what did not transfer."""

from importlib import import_module

import pytest

from benchmarks.claims.__main__ import lesson, names


@pytest.mark.parametrize("name", names())
def test_a_file_of_claims_names_its_paper_and_what_did_not_transfer(name: str) -> None:
    module = import_module(f"benchmarks.claims.{name}")
    assert f"arXiv {module.PAPER}" in (module.__doc__ or "").partition("\n")[0]
    assert len(lesson(name)) > 100
    assert callable(module.measured)
