"""The shipped recipe that trains in seconds, as text that tests may spoil."""

from models.recipe import FOLDER

TINY = (FOLDER / "facts-tiny.yaml").read_text()
