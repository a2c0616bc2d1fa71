"""The folder of a run: its files, and how it resumes."""
