"""Schedules: found by measuring, remembered as records, predicted by a cost model."""
