"""Triggers: what the triggerer does so that no worker has to wait."""
