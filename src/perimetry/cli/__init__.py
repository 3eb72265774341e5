"""The command line: one short file per command. Only this package prints, reads arguments and exits."""
