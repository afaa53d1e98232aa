"""Errors that a user can act on: each names the thing, the place, what was expected and what to do next."""

from __future__ import annotations


class LcmError(ValueError):
    """Base of the errors whose message is meant for the user; entry points print it without a traceback."""


class CodecError(LcmError):
    """A codec is unknown, or its weights are missing or damaged."""


class CheckpointError(LcmError):
    """A checkpoint is missing, damaged, or made for another codec or architecture."""


class TrainingError(LcmError):
    """Training cannot go on: a loss is not finite, memory ran out, or the data does not fit the settings."""
