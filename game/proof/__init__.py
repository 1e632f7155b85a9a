"""What is checked of a run that claims to be as it was played; `game.proof.verify` puts it together."""
