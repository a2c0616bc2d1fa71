"""The folder of a run: what it writes, and how it goes on after any end."""
