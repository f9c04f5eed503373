"""The page of the server: its markup, style and script."""
