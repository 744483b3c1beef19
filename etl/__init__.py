"""Keeps what job platforms did: their executions, copied into relational tables and proven."""

__version__ = "0.1.0"
