"""Trine for library users: load, compile, run, compare. The command line is `trine.cli`.

>>> import trine
>>> artefact = trine.compile(trine.load_checkpoint(path), tokenizer, trine.MACHINES["ci"])  # doctest: +SKIP
"""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("trine")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+checkout"
