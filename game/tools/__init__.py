"""Interpretability tools: each a free function over the metered toolbox, with its price beside it."""
