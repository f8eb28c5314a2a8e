"""The command line: one file for each family of commands, imported when its command is called."""
