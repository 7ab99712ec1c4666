"""One folder for each kind of network that can be imported."""
