"""How good is an encoder: tasks, their measures, and results that say how they came about."""
