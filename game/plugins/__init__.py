"""Plug-ins of the user's own: where their code is, what they say of themselves, and what was submitted."""
