"""What a profile found, as a table, JSON or one HTML page."""

from bnn_compiler.report.profile import COLUMNS, ProfileReport

__all__ = ["COLUMNS", "ProfileReport"]
