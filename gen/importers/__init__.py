"""Readers of other tools' network files."""
