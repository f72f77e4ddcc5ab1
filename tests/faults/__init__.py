"""Faults on purpose: kills, full disks, damaged files."""
