"""The commands of ``sapd``, one file per command."""
