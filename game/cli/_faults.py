"""What a user can put right, told in one line a fault and with an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """A command cannot do what it was asked to; the message is for the user, one line a fault."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def told_to_user() -> Iterator[None]:
    """Turn faults in files, names and settings into `CommandError`, and a damaged store too.

    Raises:
        CommandError: With the fault's own message.
    """
    from edits.base import EditError
    from game.dealing.dealer import DealError
    from game.fitting.readings import ReadingError
    from game.loader import LoadError
    from game.plugins.place import PlaceError
    from game.plugins.register import RegisterError
    from game.referee import BaseChangedError
    from game.runs.database import StoreError
    from game.runs.store import RunInUseError
    from game.runs.tournament import TournamentError
    from game.sandbox.tiers import IsolationError
    from game.selfcheck.verdicts import LeakError
    from models.strict_yaml import ConfigError
    from models.training import TrainingError
    from models.zoo import CacheError

    try:
        yield
    except (
        CacheError,
        ConfigError,
        LoadError,
        PlaceError,
        ReadingError,
        RunInUseError,
        TournamentError,
    ) as error:
        raise CommandError(str(error)) from error
    except (DealError, EditError, TrainingError) as error:
        raise CommandError(str(error), 1) from error
    except (BaseChangedError, LeakError, RegisterError, StoreError) as error:
        raise CommandError(str(error), 3) from error
    except IsolationError as error:
        raise CommandError(f"isolation: {error}", 4) from error
