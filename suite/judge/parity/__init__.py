"""Where the first steps of two releases part, by how much, and what that looks like."""
