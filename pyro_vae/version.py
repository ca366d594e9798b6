"""The version of this library; setup.cfg reads it here."""

__version__ = "0.1.0"
