"""Check recipes, suites, edit specifications and manifests; show every fault of every file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.strict_yaml import Document, Fault


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what it is shows from its keys")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line for each sound file and for each fault; 2 if there was any."""
    from game.cli._rounds import print_json

    code = 0
    for path in args.files:
        kind, faults = _checked(path)
        code = 2 if faults else code
        for fault in faults:
            if args.json:
                place = {"file": fault.where, "line": fault.line, "column": fault.column}
                print_json({"kind": "fault"} | place | {"path": fault.path, "message": fault.message})
            elif args.display != "none":
                print(fault)
        if not faults and args.json:
            print_json({"kind": "valid", "file": str(path), "is": kind})
        elif not faults and args.display != "none":
            print(f"{path}: valid {kind}")
    return code


def _checked(path: Path) -> "tuple[str, tuple[Fault, ...]]":
    """What the file is, and its faults."""
    from models.strict_yaml import ConfigError, read_document

    kind = ""
    try:
        document = read_document(path)
        kind = _kind(document)
        _load(kind, document, path)
    except ConfigError as error:
        return kind, error.faults
    return kind, ()


def _kind(document: "Document") -> str:
    """What the document is, by the key that only that kind has."""
    marks = {
        "groups": "suite",
        "edit": "edit",
        "architecture": "recipe",
        "training": "recipe",
        "task": "recipe",
        "entry": "manifest",
    }
    kind = next((kind for key, kind in marks.items() if key in document.data), None)
    if kind == "recipe" and not {"training", "imported"} & document.data.keys():
        return "config to import a model with"
    if kind is None:
        raise document.error(
            (), "neither a suite (groups), an edit (edit), a recipe (architecture) nor a manifest (entry)"
        )
    return kind


def _load(kind: str, document: "Document", path: Path) -> None:
    if kind == "recipe":
        from models.recipe import load_recipe

        load_recipe(document, path.parent)
    elif kind.startswith("config"):
        from models.recipe import load_shape

        load_shape(document, path.parent)
    elif kind == "manifest":
        from game.plugins.manifest import AUDITOR_FILE, MANIFESTS, manifest_of

        manifest_of(document, path.name if path.name in MANIFESTS else AUDITOR_FILE, path.parent)
    elif kind == "edit":
        from edits.kinds import load_spec

        load_spec(document)
    else:
        from game.dealing.suite import suite_of

        suite_of(document)
