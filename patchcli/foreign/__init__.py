"""HDF5 files of other programs: what they hold, by whose conventions, and what can be done with it. Pure."""
