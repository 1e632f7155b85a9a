"""Red strategies, one file each: `plan(briefing)` chooses an edit for an assigned target."""
