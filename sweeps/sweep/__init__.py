"""Many points at once: freeze, submit, follow, retry."""
