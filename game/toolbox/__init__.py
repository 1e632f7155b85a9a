"""The metered door to the model under audit."""
