"""Encoders on the hub: what of a folder goes up, without what belongs to a machine, and the figures of its card."""
