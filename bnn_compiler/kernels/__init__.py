"""TE computations and their schedules, one anchor a file."""
