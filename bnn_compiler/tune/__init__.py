"""Schedules found by measuring, here, on boards or by a kit that is carried there."""
