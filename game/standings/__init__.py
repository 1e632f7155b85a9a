"""What many rounds add up to."""
