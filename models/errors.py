"""The one error that readers of checkpoints raise."""


class CheckpointError(ValueError):
    """A checkpoint that can't be read: what was wanted, what was found and what to do."""

    def __init__(self, where: object, wanted: object, found: object, remedy: str) -> None:
        super().__init__(f"{where}: wanted {wanted}, found {found}; {remedy}")
