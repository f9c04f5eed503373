"""An encoder with linear layers in int8, and the account of what that costs."""
