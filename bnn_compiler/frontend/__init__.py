"""One front end for each kind of network that can be imported (table.py), one builder for all."""
