"""One HTML report on any number of results files and training runs."""
