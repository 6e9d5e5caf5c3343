"""Measurements of txmembio; nothing here is installed, and nothing here passes or fails by the clock."""
