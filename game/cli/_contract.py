"""A plug-in held to its contract on the command line: played, and told rule by rule."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from game.catalogue import auditors, public_classes, strategies
from game.cli._faults import CommandError, told_to_user
from game.cli._names import check_name, installed_auditors, submitted_auditors
from game.cli._progress import say
from game.plugins.reference import is_folder

if TYPE_CHECKING:
    from game.testing.contract import Finding

STYLES = {"held": "green", "broken": "bold red", "not tried": "dim"}


@contextmanager
def checked_at(args: argparse.Namespace) -> "Iterator[tuple[str, Iterator[Finding]]]":
    """The tier at which a plug-in plays, and what comes of each rule as soon as it is known.

    Raises:
        CommandError: There is no such plug-in, or the jail cannot be built.
    """
    if is_red(args.reference):
        with told_to_user():
            from game.testing.check import red_findings

            yield "in process", red_findings(args.reference, args.deadline)
        return
    _require_there(args.reference)
    with told_to_user(), ExitStack() as stack:
        from game.loader import LoadError
        from game.testing.check import auditor_findings, best_sandbox

        sandbox = None
        if args.isolation != "none":
            try:
                sandbox = stack.enter_context(best_sandbox(args.reference))
            except LoadError:
                pass  # a finding
            else:
                if sandbox is None:
                    say("no jail here, it plays in this process; audit-game sandbox check tells why")
        tier = sandbox.tier if sandbox else "in process"
        yield tier, auditor_findings(args.reference, sandbox, args.deadline)


def is_red(reference: str) -> bool:
    """Whether a reference is that of a red strategy: a folder with `red.yaml`, a shipped one, or `plan`'s."""
    path, _, class_name = reference.rpartition("@")
    if is_folder(reference):
        return (Path(reference) / "red.yaml").is_file()
    if path.endswith(".py"):
        return class_name in public_classes(Path(path), "plan")
    return reference in {entry.name for entry in strategies()}


def _require_there(reference: str) -> None:
    """Nothing, if a reference leads to anything; what is wrong with that is found by the rules.

    Raises:
        CommandError: It does not.
    """
    if is_folder(reference):
        if not Path(reference).is_dir():
            raise CommandError(f"{reference}: no such folder; allowed: a folder, file.py@Class, or a name")
    elif "@" not in reference:
        check_name("auditor", reference, [*auditors(), *submitted_auditors()], installed_auditors())


def show(
    args: argparse.Namespace, reference: str, tier: str, found: "Iterable[Finding]"
) -> "Sequence[Finding]":
    """Print what was found; those rules that are broken."""
    kept = list(found)
    broken = [each for each in kept if each.verdict == "broken"]
    if args.json:
        from game.cli._rounds import print_json

        for each in kept:
            print_json({"kind": "finding", "reference": reference, "tier": tier} | vars(each))
    elif args.display == "plain":
        for each in kept:
            print("\t".join((each.verdict, each.rule, each.message)))
    elif args.display == "rich":
        _print_table(reference, tier, kept)
    return broken


def _print_table(reference: str, tier: str, found: "Sequence[Finding]") -> None:
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console
    from game.report.plain_text import one_line

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for each in found:
        verdict = Text(each.verdict, style=STYLES[each.verdict], no_wrap=True)
        words = Text(each.rule, style="dim" if each.verdict == "not tried" else "")
        if each.message:
            words.append(
                f"\n{one_line(each.message, 1000)}", style="red" if each.verdict == "broken" else "dim"
            )
        table.add_row(verdict, words)
    broken = sum(each.verdict == "broken" for each in found)
    tried = sum(each.verdict != "not tried" for each in found)
    result = f"{broken} of {tried} rules broken" if broken else f"all {tried} rules that apply hold"
    where = tier if tier == "in process" else f"at {tier}"
    console().print(Text(f"{one_line(reference, 200)}, {where}: {result}", style="bold"), table)
