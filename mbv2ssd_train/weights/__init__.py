"""Where weights come from when they are not learnt here."""
