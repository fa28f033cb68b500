"""MLSys·im: first-principles answers about machine-learning systems."""

__version__ = "0.1.0"
