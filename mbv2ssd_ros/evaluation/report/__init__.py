"""One self-contained HTML page that says how good a detector is, and where it fails."""
