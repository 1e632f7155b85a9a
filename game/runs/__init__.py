"""Tournaments, and what is kept of them on disk."""
