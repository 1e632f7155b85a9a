"""Where things are kept on the user's machine."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


def cache_folder() -> Path:
    """What can be made again, such as trained checkpoints: `AUDIT_GAME_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("AUDIT_GAME_CACHE")
    return Path(chosen) if chosen else user_cache_path("audit-game")


def data_folder() -> Path:
    """What the user brought, such as imported models: `AUDIT_GAME_DATA`, or the user's data folder."""
    chosen = os.environ.get("AUDIT_GAME_DATA")
    return Path(chosen) if chosen else user_data_path("audit-game")
