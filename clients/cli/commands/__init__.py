"""The commands of `shiplog`, a page for each kind of object."""
