"""The virtual NAS: a whole Debian machine with a reset button, started from a snapshot or cold."""
