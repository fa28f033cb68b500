"""What pytest reads under docs: the examples of the pages, not the hooks of the site builder."""

collect_ignore = ["_hooks"]
