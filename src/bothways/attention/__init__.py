"""Attention patterns as data (`plan`), their execution (`kernel`), and the switch (`direction`)."""
