"""Trained policies as files that need nothing of this project."""
