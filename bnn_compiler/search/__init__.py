"""Searches over plans: which channels and groups are worth their cost."""
