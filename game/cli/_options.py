"""The flags that commands share, each checked as it is read."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from game.cli._isolation import add_isolation

DISPLAYS = ("rich", "plain", "none")
DEVICES = ("cpu", "cuda")
LARGEST_SEED = 2**63 - 1


class Setting(NamedTuple):
    """One `-A NAME.key=value`."""

    auditor: str
    key: str
    value: Any


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What every command that plays rounds takes."""
    add_seed(parser, "--seed", "public seed: cases, edits and each auditor's own randomness")
    add_log_dir(parser)
    parser.add_argument(
        "--budget", type=credits_above_0, metavar="CREDITS", help="instead of the suite's own budget"
    )
    add_auditor_settings(parser)
    parser.set_defaults(rated=False)  # `tournament run` has a flag
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="where the models under audit run; auditors stay on the CPU (default: cpu)",
    )
    add_isolation(parser)
    add_output_options(parser)


def add_log_dir(parser: argparse.ArgumentParser) -> None:
    """`--log-dir`."""
    parser.add_argument(
        "--log-dir",
        type=Path,
        default=Path("logs"),
        metavar="DIR",
        help="where runs are kept (default: ./logs)",
    )


def add_auditor_settings(parser: argparse.ArgumentParser) -> None:
    """`-A`."""
    parser.add_argument(
        "-A",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="a setting of an auditor",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """How results are shown."""
    parser.add_argument("--json", action="store_true", help="results as lines of JSON")
    parser.add_argument(
        "--display",
        choices=DISPLAYS,
        default="plain" if os.environ.get("TERM") == "dumb" else "rich",
        help="tables (rich), tab-separated lines (plain), or nothing but what --json prints (none)",
    )


def positive(text: str, least: int = 1) -> int:
    """A count up to 1000."""
    if not text.isdecimal() or not least <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"got {_quoted(text)}, wanted an integer from {least} to 1000")
    return int(text)


def names(text: str) -> list[str]:
    """Names with a comma between two."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted names with a comma between two")
    return found


def several(text: str) -> int:
    """A count from 2 to 1000."""
    return positive(text, least=2)


def seconds(text: str) -> float:
    """A time up to an hour."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= 3600:
        raise argparse.ArgumentTypeError(f"got {_quoted(text)}, wanted seconds above 0, at most 3600")
    return found


def add_seed(parser: argparse._ActionsContainer, flag: str, text: str) -> None:
    """A flag that takes a seed."""
    parser.add_argument(flag, type=seed, default=0, metavar="N", help=f"{text} (default: 0)")


def seed(text: str) -> int:
    """A seed in words."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"got {_quoted(text)}, wanted an integer from 0 to {LARGEST_SEED}")
    return number


def credits_above_0(text: str) -> float:
    """An amount of credits in words."""
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise argparse.ArgumentTypeError(f"got {_quoted(text)}, wanted a number of credits above 0")
    return amount


def _setting(text: str) -> Setting:
    """`NAME.key=value`; lists, mappings and null are JSON, the rest is text that a field's type reads."""
    left, equals, value = text.partition("=")
    auditor, dot, key = left.rpartition(".")
    if not (equals and dot and auditor and key.isidentifier()):
        raise argparse.ArgumentTypeError(f"got {_quoted(text)}, wanted NAME.KEY=VALUE, such as norms.top=3")
    if value != "null" and not value.startswith(("[", "{")):
        return Setting(auditor, key, value)
    try:
        return Setting(auditor, key, json.loads(value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {_quoted(text)}; the value is no JSON: {error}") from None


def _quoted(text: str) -> str:
    from models.naming import quoted

    return quoted(text)
