"""Files that are written whole or not at all, read within limits, and locked while they are made."""
