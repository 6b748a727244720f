"""Modules that lie in other workers."""
