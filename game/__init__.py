"""The game: a referee that deals edited models, auditors that look for the edit, and scores."""
