"""The state file as a file: opened, migrated, set aside when damaged, written anew when taken away, and shared."""
