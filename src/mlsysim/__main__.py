"""``python -m mlsysim``: the command line."""

from .cli import main

main()
