"""Fitting auditors' beliefs to practice cases; no auditor imports this."""
