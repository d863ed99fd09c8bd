"""Configuration: schema, composition, checks, and the reporting of mistakes."""
