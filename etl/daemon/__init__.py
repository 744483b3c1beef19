"""The daemon: schedules become firings, firings become passes, for months."""
