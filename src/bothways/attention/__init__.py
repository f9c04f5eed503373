"""Attention patterns as data (`plan`), their execution (`kernel`), and the switch and proof of direction."""
