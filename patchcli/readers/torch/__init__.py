"""Readers for torch."""
