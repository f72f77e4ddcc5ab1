"""Losses of the margin in other trainers; `sympo.integrations.trl` needs TRL."""

__all__ = ["trl"]
