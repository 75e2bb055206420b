"""The stacks, one for each generation of the API; nothing else imports a framework."""
