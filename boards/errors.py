"""What can go wrong between host and board, as an exception with the remedy in its text."""


class LinkError(RuntimeError):
    """No board, another board, or one that does not answer: what was wanted, what was found, what to do."""
