"""Other ways to compute a backbone's linear layers on a CPU: int8, and packed float32."""
