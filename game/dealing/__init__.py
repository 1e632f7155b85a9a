"""Dealing: suites, and the cases that they determine."""
