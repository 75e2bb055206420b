"""The pages that people read in a browser: one file each, which asks nothing of any network."""
