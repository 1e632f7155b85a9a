"""The version of this framework, which is part of what a run's results depend on."""


def framework_version() -> str:
    """Version of the installed distribution; `0+source` when run from a checkout without one."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and --help needs it not

    try:
        return version("audit-game")
    except PackageNotFoundError:
        return "0+source"
