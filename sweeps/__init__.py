"""Distillation sweeps: one point is a resolved config; hydra turns the axes."""
