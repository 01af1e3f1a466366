"""What we were told: settings from a TOML file, the environment and credential files."""
