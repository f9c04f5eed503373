"""A backbone's linear layers in int8 on a CPU."""
