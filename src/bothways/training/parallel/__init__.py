"""Several processes: what the launcher asks for, FSDP2 and DeepSpeed's ZeRO."""
