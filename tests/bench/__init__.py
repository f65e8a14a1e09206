"""How long extract takes beside what cannot be avoided: run it with `make bench`."""
