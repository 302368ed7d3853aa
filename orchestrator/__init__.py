"""Runs a work plan with many coding agents on one git repository and brings their work home safely."""

__version__ = "0.1.0"
