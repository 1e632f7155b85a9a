"""`--isolation`: where the code of the auditors runs."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from game.cli._faults import CommandError, told_to_user
from game.cli._progress import say

if TYPE_CHECKING:
    from game.loader import LoadedAuditor
    from game.sandbox.tiers import Tier
    from game.sandbox.warden import Sandbox

LEVELS = ("auto", "process", "landlock", "bubblewrap", "none")
_UNSAFE = "it stops accidents only, and hostile code can read the answer"
_RATED = (
    "in a rated run code that is not shipped plays at landlock or better; allowed: auto, landlock, "
    "bubblewrap, or --allow-lower-tier"
)


def add_isolation(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument(
        "--isolation",
        choices=LEVELS,
        default="auto",
        help="auto: auditors that are not shipped play in the strongest jail there is; a tier: everyone "
        "plays at that tier; none: everyone plays in this process (default: auto)",
    )
    parser.add_argument(
        "--allow-lower-tier",
        action="store_true",
        help="go on at a lower tier where the one asked for is not reached (otherwise exit 4)",
    )


@dataclass(frozen=True)
class Isolation:
    """Who plays where.

    Attributes:
        sandbox: For those who are isolated; None if nobody is.
        everyone: Whether shipped auditors are isolated too.
    """

    sandbox: "Sandbox | None"
    everyone: bool

    def load(self, reference: str, settings: Mapping[str, Any]) -> "LoadedAuditor":
        """The auditor of a reference, here or in the jail.

        Raises:
            LoadError: It cannot be loaded.
            IsolationError: The jail cannot be built.
        """
        from game.loader import load_auditor

        if self.sandbox is None or not (self.everyone or is_foreign(reference)):
            return load_auditor(reference, settings)
        from game.sandbox.isolated import load_isolated

        return load_isolated(reference, settings, self.sandbox)


IN_PROCESS = Isolation(None, False)


@contextmanager
def isolated(args: argparse.Namespace, references: Sequence[str]) -> Iterator[Isolation]:
    """Who plays where for those flags, for as long as the command plays.

    Raises:
        CommandError: With exit code 4, the tier that was asked for is not reached.
    """
    chosen = _chosen(args, references)
    try:
        yield chosen
    finally:
        if chosen.sandbox is not None:
            chosen.sandbox.close()


def is_foreign(reference: str) -> bool:
    """Whether a reference names somebody else's code."""
    from game.catalogue import auditors

    return reference not in {entry.name for entry in auditors()}


def _chosen(args: argparse.Namespace, references: Sequence[str]) -> Isolation:
    foreign = any(map(is_foreign, references))
    least: Tier = "landlock" if args.rated and foreign and not args.allow_lower_tier else "process"
    if args.isolation == "none" or (args.isolation == "process" and least != "process"):
        if least != "process":
            raise CommandError(f"--isolation {args.isolation}: {_RATED}", 4)
        return IN_PROCESS
    if args.isolation == "auto" and not foreign:
        return IN_PROCESS
    return _jailed(args, references, least)


def _jailed(args: argparse.Namespace, references: Sequence[str], least: "Tier") -> Isolation:
    """At the tier asked for, or below it where that is allowed, down to the least."""
    from game.sandbox.check import not_above
    from game.sandbox.isolated import code_of
    from game.sandbox.tiers import JAILS, IsolationError

    auto = args.isolation == "auto"
    wanted: Tier = "bubblewrap" if auto else args.isolation
    allowed = not_above(wanted) if auto or args.allow_lower_tier else (wanted,)
    tiers = [tier for tier in allowed if JAILS.index(tier) >= JAILS.index(least)]
    with told_to_user():
        shown = [path for reference in references for path in code_of(reference)]
    _require_hidden(args.log_dir, shown)
    try:
        sandbox = _reached(tiers, shown)
    except IsolationError as error:
        if least != "process":
            raise CommandError(f"{_RATED}; not reached: {error}", 4) from error
        if not (auto or args.allow_lower_tier):
            raise CommandError(f"--isolation {wanted}: not reached: {error}", 4) from error
        say(f"no jail on this machine ({error}); everyone plays in this process: {_UNSAFE}")
        return IN_PROCESS
    if sandbox.tier != wanted and not auto:
        say(f"--isolation {wanted} is not reached; playing at {sandbox.tier}")
    if sandbox.tier == "process" and wanted != "process":
        say(f"auditors play in a plain process: {_UNSAFE}")
    return Isolation(sandbox, everyone=not auto)


def _require_hidden(log_dir: Path, shown: Sequence[str]) -> None:
    """Nothing, if no answer lies where every jail may read.

    Raises:
        CommandError: The run, or the models that cases are made from, would.
    """
    from game.sandbox.runtime_paths import runtime_paths
    from models.folders import cache_folder, data_folder

    kept = {"--log-dir": log_dir, "AUDIT_GAME_CACHE": cache_folder(), "AUDIT_GAME_DATA": data_folder()}
    for readable in map(Path, (*runtime_paths(), *shown)):
        for name, folder in kept.items():
            if folder.resolve().is_relative_to(readable.resolve()):
                raise CommandError(
                    f"{name}: {folder} lies in {readable}, which auditors in a jail may read; "
                    "allowed: a folder outside of it"
                )


def _reached(tiers: "Sequence[Tier]", shown: Sequence[str]) -> "Sandbox":
    from game.sandbox.check import reach

    return reach(tiers, shown)
