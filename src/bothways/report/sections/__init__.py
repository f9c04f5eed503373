"""The sections of the page, one file each. Each returns HTML, or names the command it needs."""
