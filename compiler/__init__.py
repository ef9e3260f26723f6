"""From a checkpoint to a program and a tape."""
