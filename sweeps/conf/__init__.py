"""Hydra config groups; YAML holds differences from the dataclasses only."""
