"""Activation checkpointing as a module around a module."""
