"""Searches for the channels and groups of a network under budgets of a target."""
