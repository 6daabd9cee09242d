"""Ties sources, models and the publisher together."""
