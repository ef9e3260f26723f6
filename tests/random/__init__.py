"""Random legal programs over the whole instruction table."""
