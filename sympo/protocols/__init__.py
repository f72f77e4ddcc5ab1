"""What the parts of an experiment can do: the contracts between the rooms of the library."""
