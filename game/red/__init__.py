"""Playing red: specifications and strategies on trial."""
